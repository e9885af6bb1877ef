"""Executors of the standard library's kind, in which trainings run."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor


def open_training_executor() -> ProcessPoolExecutor:
    """One spawned process for the trainings of a sweep, so that torch is paid once and never in our process.

    The process ends with the executor; a training that kills it breaks the pool, which the sweep reports.
    """
    return ProcessPoolExecutor(
        max_workers=1, mp_context=multiprocessing.get_context("spawn"), initializer=_settle
    )


def _settle() -> None:
    # What libraries print must not mix with our results on stdout, and no library may reach for a hub.
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
