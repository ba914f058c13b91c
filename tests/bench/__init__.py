"""Tests of the bench's own pieces: a measurement is worth what its instrument is worth."""
