"""One module of routes for each resource; a route translates and decides nothing."""
