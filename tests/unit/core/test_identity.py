"""Identity: what makes two things the same, pinned by stored digests and by properties."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.config.settings import BenchmarkSettings, RunSettings
from bakeoff.core.identity import (
    KEY_VERSION,
    STUDY_KEY_SCHEMA_VERSION,
    build_benchmark_key,
    build_study_family_hash,
    build_study_key_hash,
    build_trial_key_hash,
    compute_config_hash,
    compute_data_fingerprint,
    compute_eval_fingerprint,
    flatten,
    is_run_id,
)
from bakeoff.core.job import JOB, Hardware, Job, TimedJob, UntimedJob
from bakeoff.core.plan.existing import find_differences
from bakeoff.core.run_mode import RunMode
from bakeoff.disk.digest import canonical_json, digest_folder, digest_json
from bakeoff.measure.backends import Noop, OnnxRuntime, OpenVino, Torch
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios import Latency, Quality

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "golden" / "keys_v4.json").read_text(encoding="utf-8")
)
CASES: dict[str, list[dict[str, Any]]] = GOLDEN["cases"]
QUICK = settings(max_examples=100)

BY_ARGUMENTS: dict[str, Callable[..., str]] = {
    "compute_data_fingerprint": compute_data_fingerprint,
    "compute_eval_fingerprint": compute_eval_fingerprint,
    "build_study_key_hash": build_study_key_hash,
    "build_study_family_hash": build_study_family_hash,
    "build_trial_key_hash": build_trial_key_hash,
}


# --- stored values ----------------------------------------------------------------------------------------


def test_the_stored_keys_are_of_the_present_version() -> None:
    assert (GOLDEN["key_version"], GOLDEN["study_key_schema_version"]) == (
        KEY_VERSION,
        STUDY_KEY_SCHEMA_VERSION,
    )


@pytest.mark.parametrize("name", sorted(BY_ARGUMENTS))
def test_hashes_and_fingerprints_are_the_stored_ones(name: str) -> None:
    found = [BY_ARGUMENTS[name](**case["arguments"]) for case in CASES[name]]
    assert found == [case["digest"] for case in CASES[name]]


def test_json_digests_are_the_stored_ones() -> None:
    found = [digest_json(case["value"]) for case in CASES["digest_json"]]
    assert found == [case["digest"] for case in CASES["digest_json"]]


def test_folder_digests_are_the_stored_ones(tmp_path: Path) -> None:
    for number, case in enumerate(CASES["digest_folder"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in case["files"].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text.encode())
        assert digest_folder(folder) == case["digest"]


def test_config_hashes_are_the_stored_ones() -> None:
    found = [compute_config_hash(case["config"]) for case in CASES["compute_config_hash"]]
    assert found == [case["digest"] for case in CASES["compute_config_hash"]]


def test_benchmark_keys_of_whole_jobs_are_the_stored_ones() -> None:
    jobs = [JOB.validate_python(case["job"]) for case in CASES["build_benchmark_key"]]
    assert [job.key for job in jobs] == [case["key"] for case in CASES["build_benchmark_key"]]
    assert [job.model_dump(mode="json") for job in jobs] == [
        case["job"] for case in CASES["build_benchmark_key"]
    ]


def test_a_benchmark_key_is_what_hashlib_makes_of_hand_written_json() -> None:
    case = CASES["build_benchmark_key"][0]
    job = JOB.validate_python(case["job"])
    written = (
        '{"checkpoint_digest":"' + job.checkpoint_digest + '",'
        '"hardware":{"accelerators":[],"cpu_model":"AMD EPYC","machine":"x86_64","physical_cores":2,'
        '"usable_cpus":2},'
        '"inputs_digest":"' + job.inputs_digest + '",'
        '"key_version":4,"max_length":128,'
        '"protocol":{"block_s":0.05,"iterations":0,"max_calls":200,"max_repeats":20,"min_calls":5,'
        '"min_repeats":5,"rounds":10,"seed":0,'
        '"targets":{"p50":0.02,"p95":0.05,"p99":0.1,"ratio":0.015},'
        '"time_budget_s":300,"version":2,"warmup_iterations":0,"warmup_max_s":10,"warmup_min_s":0.5},'
        '"runtime":{"compile":false,"device":"cpu","kind":"torch","precision":"fp32","threads":2},'
        '"scenario":{"batch_sizes":[1,8],"kind":"latency","padding":"longest","region":"model"},'
        '"task":{"kind":"token_classification"}}'
    )
    config_hash = hashlib.sha256(written.encode()).hexdigest()
    assert job.key == f"{job.champion_run_id}:{job.data_fingerprint}:{job.eval_fingerprint}:{config_hash}"


def test_a_trial_key_is_what_hashlib_makes_of_hand_written_json() -> None:
    written = b'{"params":{"epochs":3,"lr":0.001},"study_key_hash":"abc"}'
    assert build_trial_key_hash("abc", {"lr": 1e-3, "epochs": 3}) == hashlib.sha256(written).hexdigest()


# --- separators and order ---------------------------------------------------------------------------------


def test_moving_a_letter_between_neighbours_changes_the_digest() -> None:
    assert digest_json(["a", "bc"]) != digest_json(["ab", "c"])
    assert digest_json({"a": "bc"}) != digest_json({"ab": "c"})
    assert build_trial_key_hash("a", {"b": "c"}) != build_trial_key_hash("ab", {"": "c"})


def test_the_order_in_which_params_are_named_changes_no_key() -> None:
    assert build_trial_key_hash("s", {"a": 1, "b": 2}) == build_trial_key_hash("s", {"b": 2, "a": 1})


def test_a_data_fingerprint_is_bound_to_every_part_of_the_content() -> None:
    arguments = CASES["compute_data_fingerprint"][0]["arguments"]
    changed = [
        arguments | {"files": arguments["files"] | {"train": "0" * 64}},
        arguments | {"files": {"train": arguments["files"]["test"], "test": arguments["files"]["train"]}},
        arguments | {"label_map": {"O": 0, "B-city": 2, "I-city": 1}},
        arguments | {"split": arguments["split"] | {"seed": 1}},
    ]
    fingerprints = {compute_data_fingerprint(**each) for each in [arguments, *changed]}
    assert len(fingerprints) == 1 + len(changed)


def test_an_eval_fingerprint_is_bound_to_metric_options_evaluator_and_thresholds() -> None:
    arguments: dict[str, Any] = {
        "metric": "f1",
        "options": {"average": "micro"},
        "evaluator": "seqeval 1.2.2",
    }
    changed: list[dict[str, Any]] = [
        arguments | {"metric": "precision"},
        arguments | {"options": {"average": "macro"}},
        arguments | {"evaluator": "seqeval 1.2.3"},
        arguments | {"thresholds": {"city": 0.5}},
    ]
    same = compute_eval_fingerprint(**arguments, thresholds={})
    fingerprints = {compute_eval_fingerprint(**each) for each in [arguments, *changed]}
    assert len(fingerprints) == 1 + len(changed)
    assert same in fingerprints


# --- keys are equal exactly when what decides the numbers is ----------------------------------------------

digests = st.integers(0, 2).map(lambda number: f"{number:064x}")
threads = st.none() | st.integers(1, 4)
runtimes = st.one_of(
    st.builds(
        Torch,
        threads=threads,
        precision=st.sampled_from(["fp32", "bf16"]),
        device=st.sampled_from(["cpu", "cuda"]),
        compile=st.booleans(),
    ),
    st.builds(
        OnnxRuntime,
        threads=threads,
        precision=st.sampled_from(["fp32", "int8"]),
        spinning=st.booleans(),
        memory_arena=st.booleans(),
    ),
    st.builds(OpenVino, threads=threads, precision=st.sampled_from(["fp32", "bf16", "int8"])),
    st.builds(Noop, threads=threads),
)
timed = st.builds(Latency, batch_sizes=st.sets(st.integers(1, 64), min_size=1, max_size=3).map(tuple))
untimed = st.builds(Quality, batch_size=st.integers(1, 64), refit_tolerance=st.floats(0.001, 0.5))
protocols = st.builds(
    TimingProtocol,
    min_repeats=st.integers(1, 9),
    rounds=st.integers(1, 9),
    block_s=st.floats(0.01, 1),
    min_calls=st.integers(1, 9),
    max_calls=st.integers(10, 99),
    warmup_min_s=st.floats(0.1, 1),
    warmup_max_s=st.floats(1, 10),
    seed=st.integers(0, 3),
)
machines = st.builds(
    Hardware,
    machine=st.sampled_from(["x86_64", "aarch64"]),
    cpu_model=st.sampled_from(["A", "B"]),
    physical_cores=st.integers(1, 4),
    usable_cpus=st.integers(1, 4),
    accelerators=st.lists(st.sampled_from(["gpu0", "gpu1"]), max_size=2).map(tuple),
)
parts: dict[str, Any] = {
    "backbone": st.sampled_from(["minilm-l6", "minilm-l3"]),
    "champion_run_id": st.integers(0, 2).map(lambda number: f"{number:032x}"),
    "trial_run_id": st.just("7" * 32),
    "sweep_run_id": st.just("5" * 32),
    "study_key_hash": digests,
    "trial_key_hash": digests,
    "checkpoint_digest": digests,
    "data_fingerprint": digests,
    "eval_fingerprint": digests,
    "runtime": runtimes,
    "hardware": machines,
    "inputs_digest": digests,
    "max_length": st.sampled_from([64, 128]),
    "metric_name": st.just("f1"),
    "refit_metric": st.none() | st.floats(0, 1),
}
jobs = st.one_of(
    st.builds(TimedJob, scenario=timed, protocol=protocols, **parts),
    st.builds(UntimedJob, scenario=untimed, **parts),
)

LeafPath = tuple[str, ...]
NAMES_ONLY = frozenset({"kind"})  # of one value each: changing it is changing the class


def identity_of(job: Job) -> dict[str, Any]:
    """What CONTRACT says a benchmark key is made of, picked here a second time."""
    values = job.model_dump(mode="json")
    names = (
        "champion_run_id",
        "data_fingerprint",
        "eval_fingerprint",
        "checkpoint_digest",
        "runtime",
        "scenario",
        "protocol",
        "hardware",
        "inputs_digest",
        "max_length",
    )
    return {name: values.get(name) for name in names}


def leaves_of(values: Mapping[str, Any], prefix: LeafPath = ()) -> list[LeafPath]:
    found: list[LeafPath] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += leaves_of(value, (*prefix, name))
        elif name not in NAMES_ONLY and not (value is None and name == "protocol"):
            found.append((*prefix, name))
    return found


def fixed_leaves(job: Job) -> set[LeafPath]:
    """What has one value only: all but PyTorch know one device, and Noop knows one precision."""
    fixed: set[LeafPath] = {("protocol", "version"), ("scenario", "padding")}
    fixed |= set() if isinstance(job.runtime, Torch) else {("runtime", "device")}
    return fixed | ({("runtime", "precision")} if isinstance(job.runtime, Noop) else set())


def change_leaf(job: Job, path: LeafPath) -> Job:
    values = job.model_dump(mode="json")
    parent = values
    for name in path[:-1]:
        parent = parent[name]
    value = parent[path[-1]]
    match value:
        case "cpu" | "cuda":
            changed: Any = {"cpu": "cuda", "cuda": "cpu"}[value]
        case "model" | "end_to_end":
            changed = {"model": "end_to_end", "end_to_end": "model"}[value]
        case "fp32" | "bf16" | "int8":
            reduced = "bf16" if parent["kind"] == "torch" else "int8"
            changed = reduced if value == "fp32" else "fp32"
        case bool():
            changed = not value
        case str():
            changed = value + "0"
        case list():
            changed = [*value, "gpu2"] if path[-1] == "accelerators" else [*value, 65]
        case float():
            changed = value / 2
        case None:
            changed = 5
        case _:
            changed = value + 1
    parent[path[-1]] = changed
    return JOB.validate_python(values)


@QUICK
@given(job=jobs, data=st.data())
def test_changing_one_leaf_of_what_is_measured_changes_the_key(job: Job, data: st.DataObject) -> None:
    leaves = [path for path in leaves_of(identity_of(job)) if path not in fixed_leaves(job)]
    path = data.draw(st.sampled_from(leaves))
    changed = change_leaf(job, path)
    assert changed.key != job.key
    assert changed.key_digest != job.key_digest


@QUICK
@given(job=jobs, data=st.data())
def test_changing_one_leaf_changes_the_part_that_is_named_after_it_and_no_other(
    job: Job, data: st.DataObject
) -> None:
    not_named = {("champion_run_id",), *fixed_leaves(job)}
    leaves = [path for path in leaves_of(identity_of(job)) if path not in not_named]
    path = data.draw(st.sampled_from(leaves))
    changed = change_leaf(job, path)
    assert set(find_differences(job.parts, changed.parts)) == {".".join(path)}


@QUICK
@given(job=jobs)
def test_every_leaf_that_decides_the_numbers_is_in_the_key(job: Job) -> None:
    leaves = [path for path in leaves_of(identity_of(job)) if path not in fixed_leaves(job)]
    assert len({job.key, *(change_leaf(job, path).key for path in leaves)}) == 1 + len(leaves)


@settings(max_examples=300)
@given(one=jobs, other=jobs)
def test_keys_are_equal_exactly_when_the_settings_are(one: Job, other: Job) -> None:
    assert (one.key == other.key) == (identity_of(one) == identity_of(other))
    assert JOB.validate_json(one.model_dump_json()).key == one.key


@QUICK
@given(
    job=jobs,
    name=st.sampled_from(["backbone", "trial_run_id", "study_key_hash", "trial_key_hash", "refit_metric"]),
)
def test_what_decides_no_number_is_not_in_the_key(job: Job, name: str) -> None:
    value = 0.123 if name == "refit_metric" else "another"
    changed = JOB.validate_python(job.model_dump(mode="json") | {name: value})
    assert changed.key == job.key


def test_batch_sizes_in_another_order_are_the_same_settings(make_job: Callable[..., Job]) -> None:
    assert (
        make_job(scenario=Latency(batch_sizes=(8, 1))).key
        == make_job(scenario=Latency(batch_sizes=(1, 8))).key
    )


def test_stating_a_default_changes_no_key(make_job: Callable[..., Job]) -> None:
    stated = TimingProtocol(**TimingProtocol().model_dump())
    assert make_job(protocol=stated).key == make_job(protocol=TimingProtocol()).key


def test_a_changed_copy_of_a_job_has_its_own_key(make_job: Callable[..., Job]) -> None:
    job = make_job(max_length=128)
    before = job.key
    changed = job.model_copy(update={"max_length": 64})
    assert changed.key == make_job(max_length=64).key != before


def test_the_key_shows_its_parts(make_job: Callable[..., Job]) -> None:
    job = make_job()
    parts = job.key.split(":")
    assert parts == [
        job.champion_run_id,
        job.data_fingerprint,
        job.eval_fingerprint,
        compute_config_hash(job.benchmark_config),
    ]


# --- the run mode is part of no key -----------------------------------------------------------------------

run_sections = st.sampled_from([None, {}, *({"mode": mode} for mode in [None, *RunMode, "typo"])])


@QUICK
@given(section=run_sections)
def test_the_run_mode_is_part_of_no_config_hash(section: dict[str, Any] | None) -> None:
    config = {"batch_sizes": [1, 8]}
    assert compute_config_hash(config | {"run": section}) == compute_config_hash(config)
    assert build_benchmark_key("r", "d", "e", config | {"run": section}) == build_benchmark_key(
        "r", "d", "e", config
    )


@pytest.mark.parametrize("mode", [None, *RunMode])
def test_the_run_mode_of_a_settings_object_is_part_of_no_config_hash(mode: RunMode | None) -> None:
    changed = BenchmarkSettings(run=RunSettings(mode=mode))
    assert compute_config_hash(changed) == compute_config_hash(BenchmarkSettings())


@pytest.mark.parametrize("changes", [{"timeout_s": 5.0}, {"max_attempts": 9}])
def test_how_long_and_how_often_it_is_tried_is_part_of_no_config_hash(changes: dict[str, Any]) -> None:
    assert compute_config_hash(BenchmarkSettings(**changes)) == compute_config_hash(BenchmarkSettings())
    config = {"batch_sizes": [1, 8]}
    assert compute_config_hash(config | changes) == compute_config_hash(config)


def test_no_part_of_a_job_is_a_run_mode(make_job: Callable[..., Job]) -> None:
    job = make_job()
    assert not [name for name in job.parts if name.split(".")[0] == "run" or name.endswith("mode")]


def test_a_settings_object_and_its_dump_have_one_config_hash() -> None:
    protocol = TimingProtocol()
    assert compute_config_hash(protocol) == compute_config_hash(protocol.model_dump(mode="json"))


# --- flatten ----------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b"])
atoms = st.sampled_from([None, True, False, 0, 1, 0.5, "", "0", "a", "null", "{}"])
leaf_values: st.SearchStrategy[Any] = atoms | st.lists(atoms, max_size=2) | st.just({})
nested = st.dictionaries(
    names, st.recursive(leaf_values, lambda inner: st.dictionaries(names, inner, max_size=2), max_leaves=4)
)


@settings(max_examples=500)
@given(one=nested, other=nested)
def test_settings_are_equal_exactly_when_their_leaves_are(one: Any, other: Any) -> None:
    assert (flatten(one) == flatten(other)) == (canonical_json(one) == canonical_json(other))


@QUICK
@given(one=jobs, other=jobs)
def test_jobs_of_one_champion_have_equal_parts_exactly_when_they_have_one_key(one: Job, other: Job) -> None:
    same = one.champion_run_id == other.champion_run_id and one.parts == other.parts
    assert same == (one.key == other.key)


def test_leaves_carry_dotted_names_and_canonical_json() -> None:
    settings_tree = {"protocol": {"rounds": 10, "block_s": 30.0}, "sizes": (1, 8), "none": None, "empty": {}}
    assert flatten(settings_tree) == {
        "protocol.rounds": "10",
        "protocol.block_s": "30",
        "sizes": "[1,8]",
        "none": "null",
        "empty": "{}",
    }


# --- run ids ----------------------------------------------------------------------------------------------


@QUICK
@given(identifier=st.uuids())
def test_a_run_id_is_32_hex_digits_or_a_dashed_uuid(identifier: uuid.UUID) -> None:
    assert is_run_id(identifier.hex)
    assert is_run_id(str(identifier))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 31,
        "a" * 33,
        "g" * 32,
        "A" * 32,
        "a" * 32 + "\n",
        " " + "a" * 32,
        "٣" * 32,
        "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa-",
        "aaaaaaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaa",
        "{aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa}",
        "trial_0",
    ],
)
def test_anything_else_is_no_run_id(text: str) -> None:
    assert not is_run_id(text)


@QUICK
@given(text=st.text(alphabet="0123456789abcdef-", max_size=40))
def test_run_ids_are_told_by_their_form_alone(text: str) -> None:
    dashed = [len(part) for part in text.split("-")] == [8, 4, 4, 4, 12]
    assert is_run_id(text) == (dashed or (len(text) == 32 and "-" not in text))
