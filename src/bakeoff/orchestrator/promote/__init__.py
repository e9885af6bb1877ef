"""Promotion: check the evidence, register the model, move the alias."""
