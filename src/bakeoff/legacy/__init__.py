"""Door for callers of the old benchmarking module: change the import line, keep the call.

Nothing else imports this folder; deleting it leaves everything else working.
"""

from bakeoff.legacy.door import (
    benchmark_best_trials,
    benchmark_champions,
    compute_grouping_tags,
    filter_missing_benchmarks,
    find_checkpoint_in_trial_dir,
    get_benchmark_run_mode,
    get_run_mode,
    select_champion_per_backbone,
    select_champions_for_backbones,
    should_reuse_existing,
)
from bakeoff.legacy.hashes import (
    build_benchmark_key,
    compute_config_hash,
    compute_data_fingerprint,
    compute_eval_fingerprint,
)

__all__ = [
    "benchmark_best_trials",
    "benchmark_champions",
    "build_benchmark_key",
    "compute_config_hash",
    "compute_data_fingerprint",
    "compute_eval_fingerprint",
    "compute_grouping_tags",
    "filter_missing_benchmarks",
    "find_checkpoint_in_trial_dir",
    "get_benchmark_run_mode",
    "get_run_mode",
    "select_champion_per_backbone",
    "select_champions_for_backbones",
    "should_reuse_existing",
]
