"""The tamper campaign: a book of hundreds of records, attacked everywhere, and what verify says to each attack."""
