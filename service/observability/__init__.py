"""Observability: counters for monitoring systems, structured logs, and the trace a request belongs to."""
