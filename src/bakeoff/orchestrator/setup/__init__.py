"""Setup: discover a store, write a configuration, check a project."""
