"""Sinks: the journal's single writer and the telemetry."""
