"""Models: checkpoint, tokenizer and weights on disk, and the loaded session."""
