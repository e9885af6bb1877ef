"""Configuration: text becomes settings in one place; every fault is told with file, line and column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.config.decision_rules import LatencyLimit
from bakeoff.core.config.parse import STAGES, parse_settings
from bakeoff.core.config.search_space import Choice, FloatRange
from bakeoff.core.config.settings import Settings
from bakeoff.core.identity import compute_config_hash
from bakeoff.core.run_mode import RunMode
from bakeoff.errors import ConfigError
from bakeoff.measure.scenarios import Latency, Server

DATA = "train: train.jsonl\ntest: test.jsonl\n"
HPO = """\
backbones:
  minilm-l6: {pretrained: backbones/minilm-l6}
search_space:
  learning_rate: {kind: float, low: 1.0e-5, high: 1.0e-3, log: true}
"""
# Line 1 is `data:`, line 4 is `hpo:`; what a test adds begins on line 9.
WHOLE = "data:\n  train: train.jsonl\n  test: test.jsonl\nhpo:\n" + "".join(
    f"  {line}\n" for line in HPO.splitlines()
)
ADDED_AT = 9


def parse(added: str = "", *overrides: str) -> Settings:
    """Read one whole file, with something added at its end."""
    return parse_settings({"": ("bakeoff.yaml", WHOLE + added)}, overrides)


def parse_stages(overrides: Sequence[str] = (), **stages: str) -> Settings:
    """Read one file a stage."""
    texts = {"data": DATA, "hpo": HPO} | stages
    return parse_settings({stage: (f"{stage}.yaml", text) for stage, text in texts.items()}, overrides)


def faults_of(added: str = "", *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(added, *overrides)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


# --- what is right ----------------------------------------------------------------------------------------


def test_one_file_and_one_file_a_stage_give_the_same_settings() -> None:
    one = parse("selection:\n  min_trials_per_group: 5\n")
    assert one == parse_stages(selection="min_trials_per_group: 5\n")
    assert one.selection.min_trials_per_group == 5


def test_what_is_not_stated_has_its_default() -> None:
    read = parse()
    assert read.selection.min_trials_per_group == 3
    assert read.selection.top_k_for_stable_score == 3
    assert read.benchmark.run.mode is None
    assert read.hpo.objective.direction == "maximize"


def test_lists_become_tuples_of_typed_entries() -> None:
    read = parse(
        "benchmark:\n  scenarios:\n    - {kind: latency, batch_sizes: [8, 1]}\n"
        "decision:\n  constraints:\n    - {kind: latency, at_most_ms: 20}\n"
    )
    assert read.benchmark.scenarios == (Latency(batch_sizes=(1, 8)),)
    assert read.decision.constraints == (LatencyLimit(kind="latency", at_most_ms=20.0),)


def test_an_empty_file_of_a_stage_means_its_defaults() -> None:
    assert parse_stages(selection="# nothing is set\n") == parse_stages()


def test_an_empty_section_of_one_file_means_its_defaults() -> None:
    assert parse("selection:\n  # nothing is set\n") == parse()


def test_a_null_run_section_means_the_default_mode() -> None:
    assert parse("benchmark:\n  run:\n    # mode: force_new\n").benchmark.run.mode is None
    assert parse("benchmark: {run: null}\n") == parse()


@pytest.mark.parametrize("mode", RunMode)
def test_the_run_mode_changes_no_config_hash(mode: RunMode) -> None:
    changed = parse(f"benchmark: {{run: {{mode: {mode}}}}}\n")
    assert changed.benchmark.run.mode is mode
    assert compute_config_hash(changed.benchmark) == compute_config_hash(parse().benchmark)


# --- unknown keys -----------------------------------------------------------------------------------------


def test_an_unknown_key_is_told_with_its_place_and_the_nearest_name() -> None:
    (fault,) = faults_of("selection:\n  min_trials: 3\n")
    assert fault == (
        f"bakeoff.yaml:{ADDED_AT + 1}:3: selection.min_trials: unknown key 'min_trials'; "
        "did you mean min_trials_per_group?"
    )


def test_an_unknown_key_of_one_stage_file_is_told_with_that_file() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_stages(benchmark="n_texts: 8\nprotocol:\n  round: 3\n")
    assert caught.value.faults == (
        "benchmark.yaml:3:3: benchmark.protocol.round: unknown key 'round'; did you mean rounds?",
    )


@pytest.mark.parametrize(("written", "meant"), [("presets", "preset"), ("process", "processes")])
def test_a_shorthand_of_the_protocol_is_known_to_the_hint(written: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_stages(benchmark=f"protocol:\n  {written}: 3\n")
    (fault,) = caught.value.faults
    assert fault.endswith(f"unknown key '{written}'; did you mean {meant}?")


@pytest.mark.parametrize("preset", ["quik", "[quick]", "{quick: 1}", "1"])
def test_a_preset_that_is_none_is_told_with_those_that_are(preset: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_stages(benchmark=f"protocol: {{preset: {preset}}}\n")
    (fault,) = caught.value.faults
    assert fault.endswith("is unknown; expected one of quick, standard, rigorous")


def test_an_unknown_stage_is_told_with_the_nearest_one() -> None:
    (fault,) = faults_of("benchmarks: {}\n")
    assert fault.startswith(f"bakeoff.yaml:{ADDED_AT}:1: ")
    assert fault.endswith("unknown key 'benchmarks'; did you mean benchmark?")


def test_a_key_near_to_nothing_is_told_with_all_valid_names() -> None:
    (fault,) = faults_of("decision:\n  objective: {kind: weighted, weights: {zzz: 1}}\n")
    assert fault.endswith("unknown key 'zzz'; expected one of latency, quality")


def test_an_unknown_key_inside_a_list_is_one_fault() -> None:
    assert len(faults_of("benchmark:\n  scenarios:\n    - {kind: latency, batch_size: [1]}\n")) == 1


def test_an_unknown_key_inside_a_list_is_told_with_its_place() -> None:
    faults = faults_of("benchmark:\n  scenarios:\n    - {kind: latency, batch_size: [1]}\n")
    assert faults[0] == (
        f"bakeoff.yaml:{ADDED_AT + 2}:23: benchmark.scenarios.0.batch_size: unknown key 'batch_size'; "
        "did you mean batch_sizes?"
    )


RECORDS = [stage for stage in STAGES if stage != "models"]  # which maps names that you choose


@settings(max_examples=60)
@given(stage=st.sampled_from(RECORDS), key=st.text(alphabet="abcdefgh_", min_size=1, max_size=8))
def test_no_unknown_key_passes_in_any_stage(stage: str, key: str) -> None:
    texts = {"data": DATA, "hpo": HPO}
    text = f"{texts.get(stage, '')}{key}_: 1\n"
    with pytest.raises(ConfigError) as caught:
        parse_stages(**{stage: text})
    assert f"unknown key '{key}_'" in str(caught.value)
    assert f"{stage}.yaml:{text.count(chr(10))}:1: " in str(caught.value)


# --- wrong values -----------------------------------------------------------------------------------------


def test_a_wrong_type_is_told_with_place_found_and_expected() -> None:
    (fault,) = faults_of("selection:\n  min_trials_per_group: many\n")
    assert fault == (
        f"bakeoff.yaml:{ADDED_AT + 1}:3: selection.min_trials_per_group: found 'many'; "
        "input should be a valid integer, unable to parse string as an integer"
    )


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("selection: {min_trials_per_group: 0}", "greater than or equal to 1"),
        ("selection: {artifact_check_source: disk}", "'tag' or 'store'"),
        ("selection: [1]", "selection: found [1]; "),
        ("selection: 3", "selection: found 3; "),
        ("decision: {confidence: 1}", "less than 1"),
        ("decision: {confidence: .nan}", "decision.confidence: found nan"),
        (
            "decision: {objective: {kind: weighted, weights: {quality: 0, latency: 0}}}",
            "set at least one weight above 0",
        ),
        ("benchmark: {timeout_s: .inf}", "finite number"),
        (
            "benchmark: {scenarios: [{kind: server, limit_ms: 9, quantile: 0.999, n_queries: 4741}]}",
            "n_queries: found 4741; too few n_queries for the quantile 0.999; set at least 4742",
        ),
        ("benchmark: {scenarios: [{kind: server, limit_ms: 9, n_queries: 472}]}", "n_queries: found 472; "),
        ("benchmark: {runtimes: []}", "at least 1 item"),
        ("benchmark: {runtimes: [{kind: torhc}]}", "'torch'"),
        ("benchmark: {runtimes: [{precision: fp32}]}", "kind"),
        ("benchmark: {runtimes: [{kind: torch}, {kind: torch}]}", "duplicate entry in runtimes"),
        (
            "benchmark: {scenarios: [{kind: latency, batch_sizes: [1, 1]}]}",
            "duplicate batch size; list each size once",
        ),
        ("benchmark: {scenarios: [{kind: latency, batch_sizes: []}]}", "at least 1 item"),
        ("benchmark: {scenarios: [{kind: latency, batch_sizes: 8}]}", "batch_sizes: found 8; "),
        ("benchmark: {scenarios: [{kind: latency, batch_sizes: [1, x]}]}", "batch_sizes.1: found 'x'"),
    ],
)
def test_a_value_out_of_its_bounds_is_told(added: str, expected: str) -> None:
    faults = faults_of(added + "\n")
    assert expected in faults[0]
    assert faults[0].startswith(f"bakeoff.yaml:{ADDED_AT}:")


@pytest.mark.parametrize("stated", ["", ", n_queries: 4742"])
def test_a_server_with_queries_enough_for_its_quantile_is_accepted(stated: str) -> None:
    text = f"benchmark: {{scenarios: [{{kind: server, limit_ms: 9, quantile: 0.999{stated}}}]}}\n"
    (server,) = parse(text).benchmark.scenarios
    assert isinstance(server, Server)
    assert server.n_queries >= 4742


def test_of_two_servers_the_one_with_too_few_queries_is_told_with_its_line() -> None:
    few = "    - {kind: server, limit_ms: 9, quantile: 0.995, n_queries: 800}\n"
    text = "benchmark:\n  scenarios:\n    - {kind: server, limit_ms: 9, quantile: 0.95}\n" + few
    (fault,) = faults_of(text)
    assert fault.startswith(f"bakeoff.yaml:{ADDED_AT + 3}:")
    assert "benchmark.scenarios.1.n_queries: found 800; " in fault


def test_too_few_queries_by_an_override_are_told_with_the_override() -> None:
    override = "benchmark.scenarios=[{kind: server, limit_ms: 9, quantile: 0.999, n_queries: 700}]"
    (fault,) = faults_of("", override)
    assert fault.startswith(f"--set {override}: ")
    assert "too few n_queries for the quantile 0.999; set at least 4742" in fault


def test_a_wrong_value_inside_a_list_is_one_fault() -> None:
    assert len(faults_of("benchmark: {scenarios: [{kind: latency, batch_sizes: [1, x]}]}\n")) == 1


def test_a_long_value_is_shown_cut() -> None:
    (fault,) = faults_of(f"selection: {{artifact_check_source: {'x' * 500}}}\n")
    assert "..." in fault
    assert len(fault) < 250


@pytest.mark.parametrize("stage", ["hpo", "benchmark"])
@pytest.mark.parametrize("mode", ["reuse", "forcenew", "Force_New", "false", "3", "[force_new]"])
def test_a_typo_in_the_run_mode_is_told_with_the_three_modes(stage: str, mode: str) -> None:
    texts = {"hpo": HPO}
    with pytest.raises(ConfigError) as caught:
        parse_stages(**{stage: f"{texts.get(stage, '')}run: {{mode: {mode}}}\n"})
    assert all(str(known) in str(caught.value) for known in RunMode)


def test_a_parameter_that_is_searched_and_fixed_is_refused() -> None:
    (fault,) = faults_of("  training: {learning_rate: 0.1, epochs: 3}\n")
    assert "both searched and fixed: learning_rate; keep one of the two" in fault
    assert fault.startswith("bakeoff.yaml:4:1: hpo")


def test_a_parameter_that_is_searched_and_changed_for_the_refit_is_refused() -> None:
    (fault,) = faults_of("  refit: {learning_rate: 0.1}\n")
    assert "both searched and fixed: learning_rate" in fault


def test_a_seed_past_what_a_key_can_hold_is_refused() -> None:
    faults_of("benchmark: {protocol: {seed: 9007199254740993}}\n")


def test_a_seed_that_no_generator_takes_is_refused() -> None:
    faults_of("decision: {seed: -1}\n")


# --- several faults ---------------------------------------------------------------------------------------


def test_all_faults_are_told_at_once_each_with_its_place() -> None:
    faults = faults_of(
        "selection:\n  min_trials_per_group: 0\n  topk: 3\n"
        "decision:\n  when_tied: never\n"
        "benchmark:\n  n_texts: none\n"
    )
    places = {fault.split(": ")[0] for fault in faults}
    assert len(faults) == 4
    assert places == {f"bakeoff.yaml:{ADDED_AT + line}:3" for line in (1, 2, 4, 6)}


def test_faults_of_several_files_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_stages(selection="topk: 3\n", decision="when_tied: never\n")
    told = sorted(fault.split(": ")[0] for fault in caught.value.faults)
    assert told == ["decision.yaml:1:1", "selection.yaml:1:1"]


def test_broken_yaml_of_several_files_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_stages(selection="a: [1\n", decision="b: }\n", overrides=["nonsense"])
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "selection.yaml",
        "decision.yaml",
        "--set nonsense",
    ]


# --- missing ----------------------------------------------------------------------------------------------


NOTHING = (
    "found neither hpo.backbones nor models; add hpo.backbones to measure the champions of a sweep, or "
    "models to measure models that you name"
)


@pytest.mark.parametrize("text", ["data: {train: a, test: b}\n", "", "hpo: {n_trials: 3}\nmodels: {}\n"])
def test_settings_without_any_model_name_both_ways(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({"": ("bakeoff.yaml", text)})
    assert caught.value.faults == (f"bakeoff.yaml: {NOTHING}",)


def test_a_folder_without_any_model_names_both_ways() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({"data": ("config/data.yaml", "test: a\n"), "hpo": ("config/hpo.yaml", "")})
    assert caught.value.faults == (f"configuration: {NOTHING}",)


def test_a_missing_key_is_told_with_the_place_of_its_section() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({"": ("bakeoff.yaml", "models:\n  a: {}\n")})
    assert caught.value.faults == (
        "bakeoff.yaml:2:3: models.a: found {}; set exactly one of `source` and `factory`",
    )


def test_models_are_texts_or_mappings() -> None:
    text = "models: {new: ./out, prod: {source: models:/ner/3}, live: models:/ner@live}\n"
    models = parse_settings({"": ("bakeoff.yaml", text)}).models
    assert {name: model.source for name, model in models.items()} == {
        "new": "./out",
        "prod": "models:/ner/3",
        "live": "models:/ner@live",
    }
    assert [model.is_uri for model in models.values()] == [False, True, True]
    assert models["prod"].registered == ("ner", "3", None)
    assert models["live"].registered == ("ner", None, "live")
    assert models["new"].registered is None
    assert Settings(models=models) == Settings.model_validate({"models": {**models, "new": "./out"}})


def test_a_model_file_of_its_own_is_read_as_the_stage() -> None:
    assert parse_settings({"models": ("config/models.yaml", "new: ./out\n")}).models["new"].source == "./out"


def test_a_name_is_a_backbone_or_a_model() -> None:
    text = "models:\n  a: ./out\nhpo: {backbones: {a: {}, b: {}}}\n"
    with pytest.raises(ConfigError) as caught:
        parse_settings({"": ("bakeoff.yaml", text)})
    assert caught.value.faults == (
        "bakeoff.yaml:2:3: models.a: found 'a'; hpo.backbones has the same name; rename one of the two",
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("http://example.org/model", "http: is not a scheme that bakeoff reads"),
        ("s3://bucket/model", "s3: is not a scheme that bakeoff reads"),
        ("models:/ner", "set models:/NAME/VERSION with a number, models:/NAME@ALIAS or models:/m-ID"),
        ("models:/ner/latest", "set models:/NAME/VERSION with a number"),
        ("models:/ner/0", "set models:/NAME/VERSION with a number"),
        ("models:/a/b/1", "set models:/NAME/VERSION with a number"),
        ("runs:/abc/model", "set runs:/RUN/PATH"),
        (f"runs:/{'0' * 32}/../other", "'..' is not a name; name an artifact below the run"),
        (f"runs:/{'0' * 32}/", "set runs:/RUN/PATH"),
        ("a\x1b[31mb", "it holds a control or invisible character; write the name without it"),
        ("", "set a folder, an .onnx file, models:/NAME/VERSION"),
        (3, "set a folder, an .onnx file, models:/NAME/VERSION"),
        ([], "set a folder, an .onnx file, models:/NAME/VERSION"),
    ],
)
def test_a_source_that_bakeoff_does_not_read_is_refused(source: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({"": ("bakeoff.yaml", json.dumps({"models": {"a": source}}))})
    (fault,) = caught.value.faults
    assert fault.startswith("bakeoff.yaml:1:")
    assert f": models.a: found {source!r:.80}" in fault
    assert message in fault
    assert "\x1b" not in fault


def test_to_read_a_sweep_that_another_program_wrote_the_names_of_its_backbones_suffice() -> None:
    settings = parse_settings({"": ("bakeoff.yaml", "hpo: {backbones: {bert: {recorded_as: org/bert}}}\n")})
    assert settings.hpo.backbones["bert"].recorded_as == "org/bert"
    assert settings.data.test is None


def test_two_backbones_of_one_recorded_name_are_refused() -> None:
    text = "hpo: {backbones: {a: {recorded_as: b}, b: {}}}\n"
    with pytest.raises(ConfigError, match="several backbones are recorded as b"):
        parse_settings({"": ("bakeoff.yaml", text)})


def test_one_sweep_experiment_or_several_are_named_each_once() -> None:
    assert parse("tracking: {sweep_experiment: a}\n").tracking.sweep_experiments == ("a",)
    assert parse("tracking: {sweep_experiment: [b, a, b]}\n").tracking.sweep_experiments == ("b", "a")
    assert "sweep_experiment" in faults_of("tracking: {sweep_experiment: []}\n")[0]


@pytest.mark.parametrize("text", ["- data\n", "data\n", "3\n"])
def test_a_file_that_is_no_mapping_is_told_with_the_stages(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({"": ("bakeoff.yaml", text)})
    assert all(stage in str(caught.value) for stage in STAGES)


# --- YAML -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\n", "2:1"),
        ("a: 1\n b: 2\n", "2:3"),
        ("a: 'x\n", "2:1"),
        ("\ta: 1\n", "1:1"),
        ("a: *b\n", "1:4"),
    ],
)
def test_broken_yaml_is_told_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_stages(selection=text)
    (fault,) = caught.value.faults
    assert fault.startswith(f"selection.yaml:{place}: invalid YAML: ")


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object:os.system {}",
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!unknown 3",
    ],
)
def test_a_yaml_tag_that_makes_objects_is_refused(value: str) -> None:
    (fault,) = faults_of(f"tracking:\n  uri: {value}\n")
    assert fault.startswith(f"bakeoff.yaml:{ADDED_AT + 1}:8: invalid YAML: ")
    (fault,) = faults_of("", f"tracking.uri={value}")
    assert fault.startswith("--set ")


def test_a_key_that_stands_twice_is_refused() -> None:
    faults_of("selection:\n  min_trials_per_group: 2\n  min_trials_per_group: 5\n")


def test_a_section_that_stands_twice_is_refused() -> None:
    faults_of("decision: {seed: 1}\ndecision: {when_tied: fastest}\n")


@pytest.mark.parametrize("value", ["\x01", "2026-13-45", "!!int x", "!!float x"])
def test_a_scalar_that_yaml_cannot_read_is_a_fault_and_no_crash(value: str) -> None:
    faults_of(f"tracking: {{uri: {value}}}\n")


@pytest.mark.parametrize("value", ["\x01", "2026-13-45", "!!int x", "[1"])
def test_an_override_that_yaml_cannot_read_is_a_fault_and_no_crash(value: str) -> None:
    (fault,) = faults_of("", f"tracking.uri={value}")
    assert fault.startswith(f"--set tracking.uri={value}: ")


def test_yaml_that_holds_itself_is_a_fault_and_no_crash() -> None:
    faults_of("tracking: &all {uri: *all}\n")


def test_an_anchor_that_is_used_twice_is_read_twice() -> None:
    read = parse("selection: {min_trials_per_group: &n 4, top_k_for_stable_score: *n}\n")
    assert (read.selection.min_trials_per_group, read.selection.top_k_for_stable_score) == (4, 4)


@pytest.mark.parametrize(
    "added", ["1: 2\n", "? [1]\n: 3\n", "null: 1\n", "selection: {1: 2}\n", "true: {}\n"]
)
def test_a_key_that_is_no_text_is_a_fault_and_no_crash(added: str) -> None:
    assert faults_of(added)


@settings(max_examples=150)
@given(text=st.text(alphabet="ab:{}[]-?&*!|>'\"%@` \n\t#,0.~", max_size=30))
def test_no_text_makes_the_reader_crash(text: str) -> None:
    try:
        parse_stages(selection=text)
    except ConfigError as error:
        assert error.faults  # noqa: PT017 - most texts are broken, some are empty, and both are right


# --- overrides --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("selection.min_trials_per_group=7", lambda s: s.selection.min_trials_per_group == 7),
        ("hpo.run.mode=force_new", lambda s: s.hpo.run.mode is RunMode.FORCE_NEW),
        ("benchmark.run.mode=null", lambda s: s.benchmark.run.mode is None),
        ("data.train=other=file.jsonl", lambda s: s.data.train == "other=file.jsonl"),
        (
            "benchmark.scenarios=[{kind: latency, batch_sizes: [1, 4]}]",
            lambda s: s.benchmark.scenarios == (Latency(batch_sizes=(1, 4)),),
        ),
        (
            "hpo.search_space.dropout={kind: choice, choices: [0.1, 0.2]}",
            lambda s: s.hpo.search_space["dropout"] == Choice(kind="choice", choices=(0.1, 0.2)),
        ),
        (
            "hpo.search_space.learning_rate.high=0.5",
            lambda s: (
                s.hpo.search_space["learning_rate"] == FloatRange(kind="float", low=1e-5, high=0.5, log=True)
            ),
        ),
    ],
)
def test_an_override_sets_one_value(override: str, read: Any) -> None:
    assert read(parse("", override))


def test_an_override_sets_one_entry_of_a_list() -> None:
    added = "benchmark:\n  scenarios:\n    - {kind: quality}\n    - {kind: latency}\n"
    read = parse(added, "benchmark.scenarios.1.batch_sizes=[1,8,32]")
    assert read.benchmark.scenarios[1] == Latency(batch_sizes=(1, 8, 32))
    read = parse(added, "benchmark.scenarios.1={kind: latency, batch_sizes: [2]}")
    assert read.benchmark.scenarios[1] == Latency(batch_sizes=(2,))


def test_an_override_wins_over_the_file_and_a_later_one_over_an_earlier() -> None:
    added = "selection: {min_trials_per_group: 2}\n"
    overrides = ["selection.min_trials_per_group=4", "selection.min_trials_per_group=5"]
    assert parse(added, *overrides).selection.min_trials_per_group == 5


def test_an_override_reaches_a_section_whose_value_is_null() -> None:
    assert parse("benchmark: {run: }\n", "benchmark.run.mode=force_new").benchmark.run.mode == "force_new"


def test_an_override_fills_a_stage_that_has_no_file() -> None:
    assert parse_stages(["decision.when_tied=fastest"]).decision.when_tied == "fastest"


@pytest.mark.parametrize(
    "override",
    [
        "nonsense",
        "",
        "=3",
        "selection.=3",
        ".selection=3",
        "selection..min_trials_per_group=3",
        "data.train.deeper=3",
        "hpo.n_trials=[1",
    ],
)
def test_an_override_that_sets_nothing_is_told(override: str) -> None:
    (fault,) = faults_of("", override)
    assert fault.startswith(f"--set {override}: ")


@pytest.mark.parametrize("index", ["2", "99", "first"])
def test_an_override_past_the_end_of_a_list_is_told(index: str) -> None:
    added = "benchmark:\n  scenarios:\n    - {kind: quality}\n    - {kind: latency}\n"
    (fault,) = faults_of(added, f"benchmark.scenarios.{index}.batch_size=3")
    assert "found no setting at" in fault


def test_all_bad_overrides_are_told_at_once() -> None:
    assert len(faults_of("", "nonsense", "=3", "hpo.n_trials=[1")) == 3


def test_an_override_into_a_list_that_the_file_leaves_out_is_a_fault() -> None:
    assert faults_of("", "benchmark.scenarios.0.batch_sizes=[1,8]")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("selection.min_trials_per_group=many", "selection.min_trials_per_group"),
        ("hpo.n_trials=many", "hpo.n_trials"),
        ("hpo.n_trails=3", "hpo.n_trails"),
        ("selektion.min_trials_per_group=3", "selektion"),
    ],
)
def test_a_fault_of_an_override_names_the_whole_key(override: str, told: str) -> None:
    (fault,) = faults_of("", override)
    assert told in fault.split(";")[0]


def test_a_fault_of_an_override_is_not_laid_to_a_line_of_the_file() -> None:
    (fault,) = faults_of("selection:\n  min_trials_per_group: 3\n", "selection.min_trials_per_group=many")
    assert not fault.startswith(f"bakeoff.yaml:{ADDED_AT + 1}:")
