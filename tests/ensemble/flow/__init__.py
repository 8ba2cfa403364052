"""Tests of gradient flow."""
