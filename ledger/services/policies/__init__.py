"""Policies outside the log: the file people write, what it may say, and the cases that try it."""
