"""Sweeps: lead a study, join one, record its trials."""
