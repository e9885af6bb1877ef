"""Results on this machine's disk: attempts, measurements, tables."""
