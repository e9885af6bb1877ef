"""Tasks that a model is measured on, one file each."""
