"""Kill, stop and starve real server processes and their database: what was acknowledged is there, once."""
