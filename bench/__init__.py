"""Measurements of the server, reported as ratios taken in one run on one machine."""
