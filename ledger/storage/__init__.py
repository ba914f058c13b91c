"""Moves rows between the databases and the core; it holds no business rule."""
