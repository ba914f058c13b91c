"""The inference gateway: every call is estimated, authorized, forwarded, metered and settled."""
