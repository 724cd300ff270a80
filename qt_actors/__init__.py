"""The trader: a supervision tree of actors that talk only by messages."""
