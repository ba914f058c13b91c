"""The HTTP API: translates requests to commands and outcomes to responses."""
