"""Training: the trials of a study, in a separate process."""
