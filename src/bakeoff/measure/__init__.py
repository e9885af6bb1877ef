"""Instrument that turns a checkpoint into a session and measures the session.

It does not depend on champions, MLflow or Optuna.
"""
