"""The exchange side: embedded exchange, gateway, account."""
