"""Tasks: what a model is asked. One file a task."""
