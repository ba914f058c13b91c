"""Reports over the whole book: one module makes each, and each format is a module over their one shape."""
