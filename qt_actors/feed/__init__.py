"""Market data: streams, back-fill, gap repair."""
