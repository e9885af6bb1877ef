"""Models: a checkpoint on disk, its tokenizer and its weights, and the session that it becomes."""
