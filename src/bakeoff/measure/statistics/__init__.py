"""Statistics: pure functions from raw readings to values with intervals."""
