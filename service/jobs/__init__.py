"""Durable evaluation jobs: the only room that knows the job engine."""
