"""Statements: finding what one consists of (``making``, ``reading``), and writing it down, a module for each format
(``formats`` names them)."""
