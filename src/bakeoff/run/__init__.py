"""Where things execute: trainings and measurements, each in a process of its own."""
