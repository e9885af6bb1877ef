"""Identity: digests and keys by which two things are the same. Versioned; pinned by golden tests.

A digest is SHA-256 over canonical JSON, 64 lower-case hex digits. It covers content, never a path or a run
mode. Any change here needs a new version and a decision record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from bakeoff.disk.digest import canonical_json, digest_json

KEY_VERSION = 4
STUDY_KEY_SCHEMA_VERSION = "2.0"

_RUN_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NOT_IDENTITY = frozenset({"run", "until", "execution", "timeout_s", "memory_limit_bytes", "max_attempts"})


def is_run_id(text: str) -> bool:
    """Return whether a text has the form of an MLflow run id: 32 hex digits, or a dashed UUID."""
    return _RUN_ID.fullmatch(text) is not None


def compute_config_hash(config: BaseModel | Mapping[str, Any]) -> str:
    """Digest the settings that decide what is measured, defaults included.

    Args:
        config: Settings object, or a mapping that states every default. The digest excludes ``run`` (the run
            mode), ``until`` (which a timed job holds itself), ``execution``, ``timeout_s``,
            ``memory_limit_bytes`` and ``max_attempts``: they do not change what is measured.
    """
    values = config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(config)
    return digest_json({name: value for name, value in values.items() if name not in _NOT_IDENTITY})


def compute_data_fingerprint(
    *, files: Mapping[str, str], label_map: Mapping[str, int], split: Mapping[str, Any]
) -> str:
    """Fingerprint the data of a study: their content, never their path.

    Args:
        files: Digest of each data file by its role, such as ``train`` and ``test``.
        label_map: Output number of each label.
        split: Division of the files: fields read, examples used, folds, seed.
    """
    return digest_json({"files": dict(files), "label_map": dict(label_map), "split": dict(split)})


def compute_eval_fingerprint(
    *,
    metric: str,
    options: Mapping[str, Any],
    evaluator: str,
    thresholds: Mapping[str, float] | None = None,
) -> str:
    """Fingerprint the evaluation of quality.

    Args:
        metric: Name of the metric.
        options: Options of the metric: averaging, tagging scheme, truncation.
        evaluator: Library that defines it, with version.
        thresholds: Decision thresholds, if the metric has any.
    """
    return digest_json(
        {
            "metric": metric,
            "options": dict(options),
            "evaluator": evaluator,
            "thresholds": dict(thresholds or {}),
        }
    )


def build_study_key_hash(
    *,
    backbone: str,
    backbone_digest: str,
    data_fingerprint: str,
    eval_fingerprint: str,
    search: Mapping[str, Any],
) -> str:
    """Build the identity of a study group: trials with the same one may be compared.

    Args:
        backbone: Name of the pretrained model family.
        backbone_digest: Digest of the pretrained files.
        data_fingerprint: Fingerprint of the data.
        eval_fingerprint: Fingerprint of the evaluation.
        search: Search space, fixed settings of the training, folds, objective, trainer.
    """
    return digest_json(
        {
            "schema_version": STUDY_KEY_SCHEMA_VERSION,
            "backbone": backbone,
            "backbone_digest": backbone_digest,
            "data_fingerprint": data_fingerprint,
            "eval_fingerprint": eval_fingerprint,
            "search": dict(search),
        }
    )


def build_study_family_hash(
    *, data_fingerprint: str, eval_fingerprint: str, search: Mapping[str, Any]
) -> str:
    """Build the identity of the studies of all backbones under the same data, evaluation and search."""
    return digest_json(
        {
            "schema_version": STUDY_KEY_SCHEMA_VERSION,
            "data_fingerprint": data_fingerprint,
            "eval_fingerprint": eval_fingerprint,
            "search": dict(search),
        }
    )


def build_trial_key_hash(study_key_hash: str, params: Mapping[str, Any]) -> str:
    """Build the identity of one hyper-parameter setting of a study group."""
    return digest_json({"study_key_hash": study_key_hash, "params": dict(params)})


class BenchmarkKey(str):
    """A benchmark key, with its digest computed once."""

    @cached_property
    def digest(self) -> str:
        """The key as a name for files: SHA-256, 64 hex digits."""
        return digest_json(self)


def build_benchmark_key(
    champion_run_id: str,
    data_fingerprint: str,
    eval_fingerprint: str,
    benchmark_config: BaseModel | Mapping[str, Any],
) -> BenchmarkKey:
    """Build the identity of a measurement, with legible parts: ``run:data:evaluation:config``.

    Args:
        champion_run_id: Refit run; its checkpoint is measured.
        data_fingerprint: Fingerprint of the data that the champion was trained and judged on.
        eval_fingerprint: Fingerprint of the evaluation.
        benchmark_config: Everything that decides the numbers: runtime, scenario, protocol, digests of inputs
            and checkpoint, hardware, key version.
    """
    config_hash = compute_config_hash(benchmark_config)
    return BenchmarkKey(f"{champion_run_id}:{data_fingerprint}:{eval_fingerprint}:{config_hash}")


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to leaves by dotted name, each as canonical JSON; lists are leaves.

    Two settings are equal exactly when their leaves are. ``plan`` compares the leaves, and the tracking store
    keeps them as params.
    """
    if isinstance(value, Mapping) and value:
        leaves: dict[str, str] = {}
        for name, inner in value.items():
            leaves.update(flatten(inner, f"{prefix}.{name}" if prefix else str(name)))
        return leaves
    return {prefix: canonical_json(_plain(value)).decode()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return value
