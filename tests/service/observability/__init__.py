"""Tests of the service: observability."""
