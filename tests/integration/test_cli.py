"""The command line as users and scripts meet it: real processes, exit codes, no traceback."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml

from bakeoff.cli.main import cli
from bakeoff.install import install_command
from command_line import bakeoff, read_document

NOOP = (
    "--set=benchmark.runtimes=[{kind: noop}]",
    "--set=benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]",
)


def change(folder: Path, stage: str, **values: object) -> Path:
    path = folder / "config" / f"{stage}.yaml"
    section = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**section, **values}))
    return path


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from bakeoff.cli.main import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('mlflow', 'torch', 'pydantic', 'pandas', 'numpy', 'optuna', 'transformers', 'rich')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    stages = (
        "init",
        "doctor",
        "sweep",
        "champions",
        "plan",
        "bench",
        "decide",
        "report",
        "compare",
        "promote",
        "export",
        "run",
        "demo",
    )
    for stage in stages:
        assert f"\n  {stage} " in done.stdout


def test_importing_bakeoff_imports_nothing_heavy() -> None:
    program = "import sys, bakeoff; print([m for m in ('mlflow', 'pydantic', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_stage_works_from_the_command_line(project_folder: Path) -> None:
    champions = bakeoff(project_folder, "champions")
    assert champions.returncode == 0
    assert "tiny" in champions.stdout
    plan = bakeoff(project_folder, "plan", "--exit-code", "-q")
    assert plan.returncode == 0
    assert plan.stdout.count("reuse") >= 4
    bench = bakeoff(project_folder, "bench")
    assert bench.returncode == 0
    assert "0 measured, 0 failed, 4 reused" in bench.stdout
    assert "reuse: measured" in bench.stderr
    decide = bakeoff(project_folder, "decide")
    assert decide.returncode == 0
    assert "tiny × " in decide.stdout
    report = bakeoff(project_folder, "report")
    page = Path(report.stdout.strip())
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    # Drawn from the calls themselves, which lie on the disk.
    assert html.count('class="hill"') > 0
    assert "are not on the disk" not in html
    assert "bakeoff decide --config config\n" in html
    promote = bakeoff(project_folder, "promote")
    assert "@champion" in promote.stdout


def test_a_report_without_its_measurements_says_so_and_shows_the_decision(project_folder: Path) -> None:
    assert bakeoff(project_folder, "decide").returncode == 0
    shutil.rmtree(project_folder / "results" / "jobs")
    report = bakeoff(project_folder, "report")
    assert report.returncode == 0
    said = [line for line in report.stderr.splitlines() if "a measurement is missing" in line]
    assert all(line.startswith("warning: a measurement is missing from the report") for line in said)
    assert len(set(said)) == len(said) > 0
    html = Path(report.stdout.strip()).read_text(encoding="utf-8")
    assert "are not on the disk where this page was made" in html
    assert 'class="hill"' not in html
    assert "All candidates" in html


def test_run_goes_from_champions_to_report_and_promotes_nothing(project_folder: Path) -> None:
    done = bakeoff(project_folder, "run", "-q", "--json")
    assert done.returncode == 0
    assert read_document(done.stdout)["command"] == "decide"
    assert (project_folder / "results" / "report.html").is_file()
    check = bakeoff(project_folder, "promote", "--json")
    assert read_document(check.stdout)["result"]["is_new"] is True


PRINTED = ("init", "sweep", "champions", "plan", "bench", "decide", "report", "promote")
# Read in tests of their own: of run here, else in test_trial, test_setup, test_offline and test_compare.
PRINTED_ELSEWHERE = ("run", "try", "doctor", "sync", "compare")


def test_json_goes_to_stdout_alone_and_is_as_its_schema_says(project_folder: Path) -> None:
    for command in PRINTED:
        more = ("--folder", "again") if command == "init" else ()
        document = read_document(bakeoff(project_folder, command, *more, "--json").stdout)
        assert (document["format_version"], document["command"]) == (2, command)


def test_every_command_with_json_is_asked_for_it() -> None:
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    with_json = {
        name
        for name, command in commands.items()
        if command is not None and any("--json" in option.opts for option in command.params)
    }
    assert with_json == {*PRINTED, *PRINTED_ELSEWHERE}


def test_plan_explains_one_job_part_by_part(project_folder: Path) -> None:
    changed = "--set=benchmark.scenarios.1.batch_sizes=[1, 3]"
    label = "tiny × torch-fp32 × latency"
    shown = bakeoff(project_folder, "plan", changed, "--explain", label)
    assert shown.returncode == 0, shown.stderr
    assert "config changed: batch_sizes ([1,2] → [1,3])" in shown.stdout
    assert "1 of " in shown.stdout
    document = read_document(bakeoff(project_folder, "plan", changed, "--explain", label, "--json").stdout)
    result = document["result"]
    assert result["job"] == label
    assert result["nearest"]["state"] == "valid"
    assert result["nearest"]["run_id"] in shown.stdout
    differing = [part for part in result["parts"] if not part["is_same"]]
    assert [(part["name"], part["found"], part["wanted"]) for part in differing] == [
        ("scenario.batch_sizes", "[1,2]", "[1,3]")
    ]
    by_digest = bakeoff(project_folder, "plan", changed, "--explain", result["key_digest"][:10], "--json")
    assert read_document(by_digest.stdout)["result"] == result


@pytest.mark.parametrize("text", ["", "nothing"])
def test_a_job_that_is_not_there_gets_exit_code_2_and_the_candidates(project_folder: Path, text: str) -> None:
    done = bakeoff(project_folder, "plan", "--explain", text)
    assert done.returncode == 2
    assert "no job has this key or label" in done.stderr
    assert done.stderr.count("tiny × ") == 4


def test_plan_leaves_with_10_where_there_is_work(project_folder: Path) -> None:
    done = bakeoff(project_folder, "plan", "--exit-code", *NOOP)
    assert done.returncode == 10
    assert "new runtime: noop" in done.stdout


def test_all_faults_of_a_configuration_are_told_at_once_with_their_places(project_folder: Path) -> None:
    change(project_folder, "hpo", n_trails=5)
    benchmark = change(project_folder, "benchmark", scenarios=[{"kind": "latency", "batch_sizes": [0, "x"]}])
    done = bakeoff(project_folder, "plan")
    assert done.returncode == 2
    assert "config/hpo.yaml:" in done.stderr
    assert "unknown key 'n_trails'; did you mean n_trials?" in done.stderr
    line = benchmark.read_text().splitlines().index("  - 0") + 1
    assert f"config/benchmark.yaml:{line}:5: benchmark.scenarios.0.batch_sizes.0: found 0" in done.stderr
    assert "found 'x'" in done.stderr


@pytest.mark.parametrize(
    ("spoil", "words", "code", "message"),
    [
        (lambda f: (f / "data" / "test.jsonl").unlink(), "bench", 2, "test.jsonl: found no such file"),
        (
            lambda f: (f / "data" / "test.jsonl").write_text('{"tokens": ["a", "b"], "ner_tags": ["O"]}\n'),
            "bench",
            2,
            "test.jsonl:1: found 'tokens' of length 2 and 'ner_tags' of length 1; expected one tag for each",
        ),
        (
            lambda f: (f / "data" / "test.jsonl").write_text(
                '{"tokens": ["a", "b"], "ner_tags": ["B-a", "X-y"]}\n'
            ),
            "bench",
            2,
            "test.jsonl:1: found tag 'X-y' in 'ner_tags'; expected O, B-TYPE or I-TYPE",
        ),
        (lambda f: shutil.rmtree(f / "config"), "plan", 2, "no such file or folder"),
        (lambda f: (f / "config" / "data.yaml").unlink(), "plan", 2, "data.test is missing"),
        (lambda f: (f / "config" / "bench.yaml").touch(), "plan", 2, "not the name of a stage"),
        (lambda f: change(f, "tracking", sweep_experiment="none"), "champions", 3, "'none' is not in sqlite"),
        (lambda f: (f / "mlflow.db").unlink(), "champions", 3, "it holds: none"),
        (
            lambda f: change(f, "hpo", backbones={"other": {"pretrained": "x"}}),
            "bench",
            3,
            "other: no finished trial of backbone 'other'",
        ),
        (
            lambda f: change(f, "hpo", backbones={"other": {"pretrained": "x"}}),
            "sweep",
            2,
            "no config.json; point hpo.backbones.NAME.pretrained at a local model folder",
        ),
        (lambda f: (f / "results" / "decision.json").unlink(), "promote", 2, "run `bakeoff decide`"),
        (lambda f: (f / "results" / "decision.json").write_text("{}"), "promote", 2, "decision.json: found"),
        (
            lambda f: change(f, "benchmark", runtimes=[{"kind": "noop", "threads": 4096}]),
            "plan",
            2,
            "noop asks for 4,096 threads; this process may use",
        ),
        (
            lambda f: change(f, "hpo", objective={"direction": "minimize"}),
            "champions",
            2,
            "has objective.direction 'maximize', but the configuration has 'minimize'",
        ),
        (
            lambda f: change(f, "decision", constraints=[{"kind": "quality", "at_least": 1.0}]),
            "decide",
            3,
            "",
        ),
        (lambda f: change(f, "decision", batch_size=64), "decide", 4, "at batch size 64 (measured: 1, 2)"),
        (lambda f: change(f, "tracking", uri="http://u:secret@127.0.0.1:9"), "plan", 5, "u:***@127.0.0.1:9"),
    ],
)
def test_bad_input_gets_one_clear_line_and_its_exit_code(
    project_folder: Path, spoil: Callable[[Path], object], words: str, code: int, message: str
) -> None:
    results = {path: path.read_bytes() for path in (project_folder / "results" / "jobs").rglob("*.npz")}
    spoil(project_folder)
    done = bakeoff(project_folder, words)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "secret" not in done.stderr
    assert {path: path.read_bytes() for path in results} == results


@pytest.mark.parametrize(
    ("stage", "words", "message"),
    [
        (
            "plan",
            ("--set=benchmark.scenarios.1.batch_sizes=[0]",),
            "scenarios.1.batch_sizes: found 0; input should be greater",
        ),
        (
            "bench",
            ("--set=benchmark.scenarios.1.batch_sizes=[1000000]",),
            "found 1000000; input should be less than or",
        ),
        (
            "run",
            ("--set=benchmark.scenarios.1.batch_sizes=[many]",),
            "found 'many'; input should be a valid integer",
        ),
        (
            "bench",
            ("--set=benchmark.runtimes=[{kind: torch, threads: 4096}]",),
            "torch-fp32 asks for 4,096 threads; this process may use",
        ),
        (
            "plan",
            ("--set=benchmark.cpus=[4095]",),
            "benchmark.cpus: found 4095; this process may use",
        ),
        (
            "bench",
            ("--set=benchmark.protocol={preset: fast}",),
            "preset 'fast' is unknown; expected one of quick, standard, rigorous",
        ),
        ("run", ("--quick", "--rigorous"), "found --quick and --rigorous; choose one"),
        (
            "decide",
            ("--set=decision.constraints=[{kind: memory, at_most_bytes: 0}]",),
            "decision.constraints: found 0; input should",
        ),
        ("decide", ("--set=decision.price_per_hour=-1",), "decision.price_per_hour: found -1"),
    ],
)
def test_what_cannot_be_measured_or_decided_is_refused_and_nothing_is_lost(
    project_folder: Path, stage: str, words: tuple[str, ...], message: str
) -> None:
    before = contents(project_folder / "results")
    done = bakeoff(project_folder, stage, *words)
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())
    assert contents(project_folder / "results") == before


def test_a_file_without_texts_is_refused_and_loses_nothing(project_folder: Path) -> None:
    before = contents(project_folder / "results")
    (project_folder / "data" / "test.jsonl").write_text("")
    done = bakeoff(project_folder, "bench")
    assert done.returncode == 2, done.stderr
    assert "test.jsonl: found no document" in done.stderr
    assert contents(project_folder / "results") == before


def test_a_runtime_that_is_not_installed_is_told_before_anything_is_measured(project_folder: Path) -> None:
    before = contents(project_folder / "results" / "jobs")
    program = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'openvino' else find(name, *rest)\n"
        "sys.argv = ['bakeoff', 'bench', '--set=benchmark.runtimes=[{kind: torch}, {kind: openvino}]']\n"
        "from bakeoff.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=project_folder, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "openvino" in done.stderr
    assert f"run `{install_command('openvino')}`" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(project_folder / "results" / "jobs") == before


def test_a_limit_that_no_server_can_meet_ends_with_a_flag_and_not_with_an_error(
    project_folder: Path,
) -> None:
    server = "--set=benchmark.scenarios=[{kind: server, limit_ms: 0.0001, n_queries: 473}]"
    done = bakeoff(project_folder, "bench", NOOP[0], server)
    assert done.returncode == 0, done.stderr
    assert "measured, valid" in done.stdout
    assert "limit_not_met" in done.stdout


def test_bench_tells_each_median_with_its_interval_and_its_ratio_to_the_reference(
    project_folder: Path,
) -> None:
    runtimes = "--set=benchmark.runtimes=[{kind: noop, threads: 1}, {kind: noop, threads: 2}]"
    done = bakeoff(project_folder, "bench", runtimes, NOOP[1])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith("latency "))
    assert " ".join(lines[head].split()) == "latency batch p50 ms time ÷ reference verdict"
    # The load of this machine is not the test's: a contended or too wide figure is named as such, maybe on a
    # second line.
    reference, other = [line for line in lines[head + 1 :] if line.startswith("tiny")][:2]
    wide = r"[\d.]+ \(too few clean.*"
    median = rf"([\d.]+ \[[\d.]+, ([\d.]+\]|∞\))|contended|{wide})"
    assert re.fullmatch(rf"tiny × noop +1 +{median} +– +reference *", reference) or re.search(wide, reference)
    assert re.fullmatch(
        rf"tiny × noop +1 +{median} +[\d.]+ \[[\d.]+, ([\d.,]+\]|∞\)) +"
        r"(faster|slower|equivalent|inconclusive) *",
        other,
    ) or re.search(wide, other)


@pytest.mark.parametrize(
    ("words", "n_repeats"),
    [
        (("--quick",), "3"),
        (("--rigorous",), "10"),
        (("--quick", "--set=benchmark.protocol.min_repeats=4"), "4"),
    ],
)
def test_a_preset_can_be_asked_for_by_a_word_and_a_setting_stands_above_it(
    project_folder: Path, words: tuple[str, ...], n_repeats: str
) -> None:
    change(project_folder, "benchmark", protocol={"rounds": 4})
    done = bakeoff(project_folder, "plan", *words, "--explain", "tiny × torch-fp32 × latency", "--json")
    parts = {part["name"]: part["wanted"] for part in read_document(done.stdout)["result"]["parts"]}
    assert parts["protocol.min_repeats"] == n_repeats
    assert parts["protocol.rounds"] == "4"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".bench.lock", "champions.json")
    }


def test_a_backbone_without_refit_is_out_with_its_reason_and_the_others_go_on(project_folder: Path) -> None:
    hpo = yaml.safe_load((project_folder / "config" / "hpo.yaml").read_text())
    change(project_folder, "hpo", backbones={**hpo["backbones"], "absent": {"pretrained": "x"}})
    done = bakeoff(project_folder, "champions", "--json")
    assert done.returncode == 0
    result = read_document(done.stdout)["result"]
    assert result["tiny"]["champion"] is not None
    assert result["absent"]["reason"] == "no finished trial of backbone 'absent'"


def test_an_unknown_command_gets_exit_code_2(project_folder: Path) -> None:
    done = bakeoff(project_folder, "bnech")
    assert done.returncode == 2
    assert "No such command 'bnech'; did you mean bench?" in done.stderr
