"""Tests of the service: jobs."""
