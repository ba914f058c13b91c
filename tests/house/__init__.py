"""Lints of the house rules that no off-the-shelf tool checks."""
