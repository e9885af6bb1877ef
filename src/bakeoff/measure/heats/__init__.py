"""Heats: candidates measured together in interleaved rounds of blocks."""
