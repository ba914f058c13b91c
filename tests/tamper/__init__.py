"""The tamper campaign: a book of hundreds of records, attacked in every table and column, and what verify says of it."""
