"""Checkpoints on this machine: acquired once, verified, kept."""

from bakeoff.stores.checkpoints.store import CheckpointStore

__all__ = ["CheckpointStore"]
