"""Tests of the core: pure, without a database."""
