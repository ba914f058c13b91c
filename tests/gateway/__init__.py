"""The gateway: bounding, pricing and metering as tables, and whole calls through real clients."""
