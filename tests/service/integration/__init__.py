"""Tests of the service: integration."""
