"""The old writer's hashes, against what its code computed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.legacy import hashes

VECTORS = json.loads((Path(__file__).parents[2] / "golden" / "seed_vectors.json").read_text(encoding="utf-8"))


def keyed(build: Callable[..., str]) -> Callable[..., dict[str, str]]:
    """Return key and hash, as the vectors hold them."""

    def both(**kwargs: Any) -> dict[str, str]:
        key = build(**kwargs)
        return {"key": key, "hash": hashes.hash_key(key)}

    return both


FUNCTIONS: dict[str, Callable[..., object]] = {
    "build_benchmark_key": hashes.build_benchmark_key,
    "compute_config_hash": hashes.compute_config_hash,
    "compute_data_fingerprint": hashes.compute_data_fingerprint,
    "compute_eval_fingerprint": hashes.compute_eval_fingerprint,
    "compute_study_key_hash_v2": hashes.compute_study_key_hash_v2,
    "compute_trial_key_hash_from_configs": lambda **kwargs: hashes.hash_key(hashes.build_trial_key(**kwargs)),
    "derive_eval_config": hashes.derive_eval_config,
    "normalize_hyperparameters": hashes.normalize_hyperparameters,
    "study_family": keyed(hashes.build_study_family_key),
    "study_key_v1": keyed(hashes.build_study_key),
    "trial_key": keyed(hashes.build_trial_key),
}


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{n}-{one['fn']}" for n, one in enumerate(VECTORS)])
def test_an_old_hash_comes_out_as_the_old_code_computed_it(vector: dict[str, Any]) -> None:
    assert FUNCTIONS[vector["fn"]](**vector["in"]) == vector["out"]


def test_every_recipe_has_a_vector() -> None:
    assert {one["fn"] for one in VECTORS} == FUNCTIONS.keys()
    assert len(VECTORS) == 69


def test_content_hash_comes_before_the_names_of_the_data() -> None:
    given = {"content_hash": "abc", "manifest_hash": "def", "name": "toy"}
    assert hashes.compute_data_fingerprint(given) == hashes.compute_data_fingerprint({"content_hash": "abc"})


def test_what_identifies_a_run_is_no_hyper_parameter() -> None:
    params = {
        "lr": 1e-5,
        "backbone": "BERT",
        "trial_number": 3,
        "run_id": "x",
        "opt": " AdamW ",
        "f": True,
    }
    assert hashes.normalize_hyperparameters(params) == {"lr": 1e-5, "opt": "adamw", "f": True}
