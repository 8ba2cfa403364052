"""Tests of the service: clients that others wrote."""
