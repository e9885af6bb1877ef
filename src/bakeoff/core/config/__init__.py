"""Configuration: the settings of a project, parsed once and checked."""
