"""Bounding a call: tables of real bodies for each wire, then properties."""
