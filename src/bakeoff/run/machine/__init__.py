"""This machine: its hardware, its lock, its processes."""
