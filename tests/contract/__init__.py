"""The HTTP contract through a running server: the OpenAPI document, and what bad input gets."""
