"""Claims: which process measures a key, kept in a ledger that all of them can read."""
