"""Statistics: pure functions from raw readings to estimates with intervals."""
