"""The gateway's verbs of the `bursar` command."""
