"""Configuration: what a project's YAML may say, parsed once and checked."""
