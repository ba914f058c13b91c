"""The `bursar` command, one module a verb."""
