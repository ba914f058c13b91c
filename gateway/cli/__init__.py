"""The gateway's verbs of the `bursar` command, one file a verb."""
