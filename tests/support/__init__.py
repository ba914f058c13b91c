"""What tests share: databases, servers and builders of data."""
