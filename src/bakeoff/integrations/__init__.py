"""Log the sweeps of your own training code, so that bakeoff reads them as its own.

``log_trial`` and ``log_refit`` fit any loop; ``log_pruned_trial`` and ``log_failed_trial`` are for settings
that did not end. ``bakeoff.integrations.transformers`` has callbacks for the
Hugging Face Trainer, ``bakeoff.integrations.optuna`` one for Optuna.
"""

from bakeoff.integrations.sweeps import (
    LoggedTrial,
    Study,
    find_best,
    log_failed_trial,
    log_pruned_trial,
    log_refit,
    log_trial,
)

__all__ = [
    "LoggedTrial",
    "Study",
    "find_best",
    "log_failed_trial",
    "log_pruned_trial",
    "log_refit",
    "log_trial",
]
