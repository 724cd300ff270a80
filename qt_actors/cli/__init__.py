"""The command line `qt`."""
