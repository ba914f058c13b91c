"""Tests of the whole against a naive model."""
