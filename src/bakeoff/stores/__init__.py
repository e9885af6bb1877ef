"""Storage: tracking store, checkpoints, results, data files. Nothing here imports run/."""
