"""Execution: trainings and measurements, each in its own process."""
