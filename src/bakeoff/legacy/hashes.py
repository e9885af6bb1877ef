"""The old writer's hashes, so that what it tagged can be found; bakeoff's own keys keep their recipes.

A digest is SHA-256 over JSON with sorted keys, separators ``,`` and ``:``, ASCII-escaped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]

SCHEMA_VERSION = "2.0"
CONFIG_DIGITS = 16
_NOT_SEARCHED = frozenset({"backbone", "trial_number", "run_id"})


def compute_config_hash(config: Config) -> str:
    """Digest a configuration, its run mode included: the first 16 digits."""
    text = json.dumps(_plain(config), sort_keys=True)
    return _digest(text)[:CONFIG_DIGITS]


def build_benchmark_key(
    champion_run_id: str, data_fingerprint: str, eval_fingerprint: str, benchmark_config: Config
) -> str:
    """Build the key that the old writer tagged a benchmark with."""
    parts = (champion_run_id, data_fingerprint, eval_fingerprint, compute_config_hash(benchmark_config))
    return ":".join(parts)


def compute_data_fingerprint(data_config: Config) -> str:
    """Fingerprint a data section: its content or manifest hash, or else its names; no file is read."""
    given = data_config.get("content_hash") or data_config.get("manifest_hash")
    if given:
        return _digest(str(given))
    return _digest_canonical(
        {
            **{name: data_config.get(name) for name in ("name", "version", "split_seed")},
            **{name: data_config.get(name, {}) for name in ("label_mapping", "schema")},
        }
    )


def compute_eval_fingerprint(eval_config: Config) -> str:
    """Fingerprint an evaluation section."""
    return _digest_canonical(
        {
            "evaluator_version": eval_config.get("evaluator_version", "default"),
            "metric_spec": eval_config.get("metric", {}),
            "thresholding": eval_config.get("thresholding", {}),
            "full_eval_config": eval_config,
        }
    )


def derive_eval_config(train_config: Config, hpo_config: Config) -> dict[str, Any]:
    """Derive the evaluation section from the training's, or else from the objective of the search."""
    found = dict(train_config.get("eval") or {})
    if not found.get("metric") and hpo_config.get("objective"):
        found["metric"] = hpo_config["objective"]
    found.setdefault("evaluator_version", "default")
    return found


def build_study_key(
    data_config: Config, hpo_config: Config, model: str, benchmark_config: Config | None = None
) -> str:
    """Build the text of a study key, version 1."""
    return _canonical({**_study_parts(data_config, hpo_config, benchmark_config), "model": _fold(model)})


def build_study_family_key(
    data_config: Config, hpo_config: Config, benchmark_config: Config | None = None
) -> str:
    """Build the text of a study family: a study key without its model."""
    return _canonical(_study_parts(data_config, hpo_config, benchmark_config))


def compute_study_key_hash_v2(
    data_config: Config, hpo_config: Config, train_config: Config, model: str
) -> str:
    """Digest a study, version 2, which is bound to the fingerprints of data and evaluation."""
    objective, sampling = hpo_config.get("objective", {}), hpo_config.get("sampling", {})
    return _digest_canonical(
        {
            "schema_version": SCHEMA_VERSION,
            "data": {
                **{name: data_config.get(name, "") for name in ("name", "version")},
                **{name: data_config.get(name, {}) for name in ("schema", "label_mapping")},
                "split_seed": data_config.get("split_seed", "default"),
                "data_fingerprint": compute_data_fingerprint(data_config),
            },
            "hpo": {
                "search_space": hpo_config.get("search_space", {}),
                "objective": {
                    "metric": objective.get("metric", "macro-f1"),
                    "direction": objective.get("direction", "maximize"),
                },
                "k_fold": hpo_config.get("k_fold", {}),
                "sampling": {"algorithm": sampling.get("algorithm", "random")},
                "early_termination": hpo_config.get("early_termination", {}),
            },
            "training": {
                **{name: train_config.get(name) for name in ("max_steps", "num_epochs")},
                "seed_policy": train_config.get("seed_policy", "default"),
            },
            "evaluation": {
                "eval_fingerprint": compute_eval_fingerprint(derive_eval_config(train_config, hpo_config))
            },
            "model": _fold(model),
        }
    )


def normalize_hyperparameters(params: Config) -> dict[str, Any]:
    """Return the searched values as the old writer compared them: floats rounded, texts folded."""
    return {name: _normalize(value) for name, value in params.items() if name not in _NOT_SEARCHED}


def build_trial_key(study_key_hash: str, hyperparameters: Config) -> str:
    """Build the text of a trial key."""
    return _canonical(
        {
            "schema_version": SCHEMA_VERSION,
            "study_key_hash": study_key_hash,
            "hyperparameters": normalize_hyperparameters(hyperparameters),
        }
    )


def hash_key(key: str) -> str:
    """Digest the text of a study, family or trial key."""
    return _digest(key)


def _study_parts(data_config: Config, hpo_config: Config, benchmark_config: Config | None) -> dict[str, Any]:
    sampling = hpo_config.get("sampling", {})
    section = (benchmark_config or {}).get("benchmarking") or {}
    benchmark = {"metric": section.get("metric", "macro-f1"), "max_length": section.get("max_length", 512)}
    return {
        "schema_version": SCHEMA_VERSION,
        "data": {
            **{name: data_config.get(name, "") for name in ("name", "version")},
            "local_path": str(data_config.get("local_path", "")),
            "schema": data_config.get("schema", {}),
        },
        "hpo": {
            **{
                name: hpo_config.get(name, {})
                for name in ("search_space", "objective", "k_fold", "early_termination")
            },
            "sampling": {"algorithm": sampling.get("algorithm", "random")},
        },
        "benchmark": benchmark if benchmark_config else {},
    }


def _normalize(value: object) -> object:
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.12e}")
    return str(value).lower().strip()


def _fold(model: str) -> str:
    return model.lower().strip()


def _plain(config: object) -> object:
    """Return plain JSON values; paths and other objects become text."""
    return json.loads(json.dumps(config, default=str))


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)


def _digest_canonical(value: object) -> str:
    return _digest(_canonical(value))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
