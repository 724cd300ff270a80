"""HTTP API of the trader and its page."""
