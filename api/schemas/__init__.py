"""The shapes of requests and responses, one module for each resource."""
