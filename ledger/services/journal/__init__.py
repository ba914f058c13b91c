"""The journal for other programs: which records it is of (``making``), what they say (``reading``), and writing it
down, a module for each format (``formats`` names them)."""
