"""Tests of the service: inference."""
