"""Claims: a shared ledger records the process that measures each key."""
