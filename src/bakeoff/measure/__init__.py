"""The instrument: how a checkpoint becomes a session and how a session is measured.

It knows nothing of champions, MLflow or Optuna, and could be used without them.
"""
