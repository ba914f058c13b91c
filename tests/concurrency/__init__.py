"""Many clients at once against one book, through one server process and through several."""
