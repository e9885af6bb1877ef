"""Configuration that is small and yet too much: refused at once, in a short line with its place."""

from __future__ import annotations

import pytest

from bakeoff.core.config.parse import parse_settings
from bakeoff.core.config.settings import Settings
from bakeoff.core.config.yaml_values import MAX_CHARS, MAX_DEPTH, MAX_PLAIN_CHARS, read_value
from bakeoff.errors import ConfigError

# A hang is what these tests are about: it must not take the whole run's patience.
pytestmark = pytest.mark.timeout(30)


def parse(text: str, *overrides: str) -> Settings:
    return parse_settings({"": ("bakeoff.yaml", text)}, overrides)


def fault_of(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, *overrides)
    assert all(len(fault) < 600 for fault in caught.value.faults)
    return str(caught.value)


def bomb(n_levels: int = 9, n_times: int = 9) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, n_levels):
        aliases = ", ".join([f"*a{level - 1}"] * n_times)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    return "\n".join(lines)


def merge_bomb() -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)]
    return "\n".join(lines)


HOSTILE = {
    "aliases in lists": (bomb(), "aliases that stand for more than 50,000 values"),
    "aliases in merges": (merge_bomb(), "aliases that stand for more than 50,000 values"),
    "an alias to itself": ("a: &a [*a]", "an alias to a value that holds it"),
    "a mapping in itself": ("a: &a {b: *a}", "an alias to a value that holds it"),
    "aliases as a key": (f"{bomb()}\n? *a8\n: x", "aliases that stand for more than 50,000 values"),
    "deep lists": ("a: " + "[" * 300_000, f"nested deeper than {MAX_DEPTH} levels"),
    "deep mappings": ("{a: " * 250_000, f"nested deeper than {MAX_DEPTH} levels"),
    "deep by aliases": (
        "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 2000))]),
        f"aliases nested deeper than {MAX_DEPTH} levels",
    ),
    "many values": ("a: [" + "1," * 400_000 + "]", "more than 50,000 values"),
    "a large file": ("a: b\n" * (MAX_CHARS // 5 + 1), "characters; at most 1,048,576 are allowed"),
    "a long number": ("a: " + "1:" * 400_000 + "1", "a value of 800,001 characters"),
    "a long word": (f"a: {'x' * (MAX_PLAIN_CHARS + 1)}", "a value of 10,001 characters"),
    "an unknown tag": (f"a: !!python/{'x' * 90_000} b", "could not determine a constructor"),
    "an unknown alias": (f"a: *{'x' * 90_000}", "found undefined alias"),
    "a date that does not exist": ("a: 2026-13-45", "month must be in 1..12"),
    "half of a character": ('a: ["\\ud83d\\ude00", "\\ud83d"]', "half of a surrogate pair"),
    "a mapping as key": ("{? {a: b} : c}", "a key that is not a text"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_in_a_short_line(kind: str) -> None:
    text, expected = HOSTILE[kind]
    fault = fault_of(text)
    assert fault.startswith("bakeoff.yaml")
    assert ": invalid YAML: " in fault
    assert expected in fault


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_override_is_refused_in_a_short_line(kind: str) -> None:
    text, _ = HOSTILE[kind]
    assert fault_of("", f"data.train={{{text[:100_000]}").startswith("--set data.train=")


@pytest.mark.parametrize(
    "text", ["selection: '{}'", "selection: {{? '{}' : 1}}", "? '{}'\n: 1", "selection: [['{}']]"]
)
def test_a_huge_text_is_not_shown_whole(text: str) -> None:
    assert "xxx" in fault_of(text.format("x" * 900_000))


def test_a_huge_kind_is_not_shown_whole() -> None:
    fault_of(f"decision: {{objective: {{kind: '{'x' * 900_000}'}}}}")


def test_a_huge_override_is_not_shown_whole() -> None:
    for override in (f"{'x' * 100_000}=1", f"x.{'y.' * 50_000}z=1", "y" * 100_000, f"data=[{'x' * 100_000}"):
        fault_of("", override)


def test_an_integer_of_ten_thousand_digits_is_refused() -> None:
    assert "found a number of too many digits" in fault_of(f"selection: [0x{'f' * 9_000}]")


def test_aliases_within_the_limits_are_read() -> None:
    text = "data: {test: t.jsonl}\nhpo:\n  training: &t {epochs: 3}\n  refit: {<<: *t}\n"
    text += "  backbones: {a: {pretrained: a}}\n"
    assert parse(text).hpo.refit == parse(text).hpo.training == {"epochs": 3}
    assert read_value(bomb(4, 9))["a3"][0][0][0] == ["x"] * 9


@pytest.mark.parametrize("flag", ["true", "false", "yes", "on"])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("hpo: {{n_trials: {}}}", "hpo.n_trials"),
        ("decision: {{confidence: {}}}", "decision.confidence"),
        ("benchmark: {{timeout_s: {}}}", "benchmark.timeout_s"),
        ("benchmark: {{protocol: {{processes: {}}}}}", "benchmark.protocol"),
        ("benchmark: {{scenarios: [{{kind: latency, batch_sizes: [8, {}]}}]}}", "batch_sizes.1"),
        ("benchmark: {{cpus: [{}]}}", "benchmark.cpus.0"),
    ],
)
def test_a_flag_is_not_a_number(text: str, place: str, flag: str) -> None:
    fault = fault_of(f"data: {{test: t}}\nmodels: {{a: a}}\n{text.format(flag)}")
    word = "true" if flag != "false" else "false"
    assert place in fault
    assert f"found {word}; input should be a number; true and false are none" in fault
    assert fault.count("\n") == 0


def test_a_flag_is_not_a_number_in_an_override_either() -> None:
    fault = fault_of("data: {test: t}\nmodels: {a: a}", "hpo.n_trials=true")
    assert fault.startswith("--set hpo.n_trials=true: hpo.n_trials: found true; ")


def test_flags_stay_flags() -> None:
    text = "data: {test: t}\nmodels: {a: a}\nhpo: {training: {use_it: true, n: 1}}\n"
    read = parse(text + "benchmark: {accept_contended: true}\n")
    assert read.benchmark.accept_contended is True
    assert read.hpo.training["use_it"] is True
