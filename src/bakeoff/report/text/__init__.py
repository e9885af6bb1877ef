"""Text: a decision and its numbers in words, the same on every screen."""
