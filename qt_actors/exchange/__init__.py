"""The embedded USDⓈ-M exchange: matching, margin, conditional orders, market data and the server that speaks for them.

It stands beside the trader and imports nothing of it; any Binance futures client can use it.
"""
