"""``bakeoff compare`` and ``bakeoff export`` on real measurements, through the command line."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bakeoff.core.records import Measurement
from bakeoff.disk.sealed import open_sealed
from bakeoff.measure.statistics.moderation import Spread
from bakeoff.measure.statistics.readings import LATENCY
from bakeoff.orchestrator import Project, open_project, plan
from bakeoff.stores.results.store import ResultStore
from command_line import bakeoff, read_document
from copies import copy_project

TORCH, ONNX = "tiny × torch-fp32", "tiny × onnxruntime-fp32"
Reopen = Callable[..., Project]


def compare(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = bakeoff(folder, "compare", *words, "--json")
    assert done.stdout, done.stderr
    result: dict[str, Any] = read_document(done.stdout)["result"]
    return done.returncode, result


def lines_of(result: dict[str, Any], pair: int = 0) -> dict[str, dict[str, Any]]:
    return {line["metric"]: line for line in result["pairs"][pair]["lines"]}


def measured(folder: Path, label: str, scenario: str, attempt: int = 1) -> Measurement:
    """A real measurement of the project."""
    project = open_project(folder / "config")
    (job,) = [
        planned.job
        for planned in plan(project).jobs
        if (planned.job.candidate, planned.job.scenario.kind) == (label, scenario)
    ]
    found = project.results.load(job.key, attempt)
    assert isinstance(found, Measurement)
    return found


def without_spread(spread: Spread) -> Spread:
    still = tuple((0.0,) * len(row) for row in spread.deviations)
    return spread.model_copy(update={"deviations": still})


def keep_changed(folder: Path, measurement: Measurement, *, slower: float, **changes: Any) -> Measurement:
    """Keep a real latency measurement as if its calls had taken so many times as long, on a quiet machine.

    No process differs from another, neither of this candidate nor of the others of its heat.
    """
    readings = []
    for reading in measurement.readings:
        if reading.quantity in (LATENCY, "reference"):
            factor = slower if reading.quantity == LATENCY else 1.0
            readings.append(
                reading.model_copy(
                    update={
                        "values": tuple(factor * 1e6 for _ in reading.values),
                        "columns": {**reading.columns, "left_out": (0,) * len(reading.values)},
                        "spreads": tuple(map(without_spread, reading.spreads)),
                    }
                )
            )
        else:
            readings.append(reading)
    changed = measurement.model_copy(update={"readings": tuple(readings), "flags": (), **changes})
    ResultStore(folder / "results").store(changed)
    return changed


def test_candidates_are_found_by_label_and_told_with_their_measurements(project_folder: Path) -> None:
    code, result = compare(project_folder, TORCH, "tiny x onnx")
    assert code in (0, 3, 4)
    assert (code, result["outcome"]) in ((0, "pass"), (3, "fail"), (4, "cannot tell"))
    (pair,) = result["pairs"]
    assert (pair["baseline"]["label"], pair["candidate"]["label"]) == (TORCH, ONNX)
    assert pair["baseline"]["keys"]["latency"] == measured(project_folder, TORCH, "latency").job.key
    lines = lines_of(result)
    assert lines["latency"]["basis"] == "same rounds"
    assert lines["quality"]["basis"] == "same documents"
    assert (lines["memory"]["gate"], lines["size"]["gate"]) == (None, None)
    swapped = lines_of(compare(project_folder, ONNX, TORCH)[1])
    for metric in ("latency", "memory", "size"):
        assert swapped[metric]["change"]["value"] == pytest.approx(1 / lines[metric]["change"]["value"])


def test_one_benchmark_is_found_by_key_digest_file_and_run(project_folder: Path) -> None:
    torch, onnx = (measured(project_folder, label, "latency") for label in (TORCH, ONNX))
    project = open_project(project_folder / "config")
    mark = project.results.find_logged(onnx.job.key, 1)
    assert mark is not None
    expected = lines_of(compare(project_folder, torch.job.key, onnx.job.key)[1])
    assert "quality" not in expected
    for name in (
        onnx.job.key_digest[:8],
        f"{onnx.job.key_digest}@1",
        f"results/jobs/{onnx.job.key_digest}/001.json",
        mark.run_id,
    ):
        code, result = compare(project_folder, torch.job.key_digest, name)
        assert code in (0, 3, 4), result
        assert lines_of(result) == expected


def test_a_regression_fails_an_equal_passes_and_a_busy_machine_leaves_it_open(project_folder: Path) -> None:
    first = measured(project_folder, TORCH, "latency")
    keep_changed(project_folder, first, slower=1.0)
    for attempt, slower in ((2, 1.0), (3, 1.2)):
        keep_changed(project_folder, first, slower=slower, attempt=attempt, measured_at=f"day {attempt}")
    name = first.job.key_digest[:12]
    for attempt, margin, code in ((2, "0.05", 0), (3, "0.05", 3), (3, "0.25", 0)):
        found, result = compare(
            project_folder, f"{name}@1", f"{name}@{attempt}", "--margin", margin, "--metric", "latency"
        )
        assert (found, lines_of(result)["latency"]["change"]["value"]) == (
            code,
            pytest.approx(1.2 if attempt == 3 else 1.0),
        )
    real = measured(project_folder, TORCH, "latency", 3)
    busy = {"name": "contended", "detail": "all rounds", "invalidates": True}
    contended = Measurement.model_validate(real.model_dump(mode="json") | {"flags": [busy], "attempt": 4})
    ResultStore(project_folder / "results").store(contended)
    code, result = compare(project_folder, f"{name}@1", f"{name}@4")
    assert (code, result["outcome"]) == (4, "cannot tell")
    assert "too busy" in lines_of(result)["latency"]["remark"]


def test_before_and_after_an_upgrade_is_refused_unless_told_and_says_how(project_folder: Path) -> None:
    first = measured(project_folder, TORCH, "latency")
    keep_changed(project_folder, first, slower=1.0)
    assert first.heat is not None
    environment = first.environment.model_copy(
        update={"libraries": {**first.environment.libraries, "torch": "99.0"}}
    )
    heat = first.heat.model_copy(update={"heat_id": "f" * 64, "calibration_ns": first.heat.calibration_ns})
    keep_changed(
        project_folder, first, slower=1.2, attempt=2, measured_at="later", environment=environment, heat=heat
    )
    name = first.job.key_digest[:12]
    refused, result = compare(project_folder, f"{name}@1", f"{name}@2")
    remark = lines_of(result)["latency"]["remark"]
    assert (refused, result["outcome"]) == (4, "cannot tell")
    assert "→ 99.0" in remark
    assert "bakeoff bench --set benchmark.run.mode=force_new" in remark
    told, result = compare(project_folder, f"{name}@1", f"{name}@2", "--allow-unlike-environments")
    assert told == 3
    assert "drift of the machine" in lines_of(result)["latency"]["remark"]


@pytest.fixture(scope="module")
def measured_again(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped project, in which everything was measured a second time."""
    folder = copy_project(shipped, tmp_path_factory.mktemp("again") / "project")
    again = bakeoff(folder, "bench", "-q", "--set=benchmark.run.mode=force_new")
    assert again.returncode == 0, again.stderr
    return folder


@pytest.fixture
def again_folder(measured_again: Path, tmp_path: Path) -> Path:
    """A copy of it, free to be changed."""
    return copy_project(measured_again, tmp_path / "again")


@pytest.mark.slow
def test_a_candidate_is_compared_with_its_own_older_attempts(again_folder: Path) -> None:
    """The very thing that a user does after an upgrade: measure again, compare with what was."""
    code, result = compare(again_folder, f"{ONNX}@1", ONNX)
    assert code in (0, 3, 4)
    (pair,) = result["pairs"]
    assert pair["baseline"]["attempts"] == {"quality": 1, "latency": 1}
    assert pair["candidate"]["attempts"] == {"quality": 2, "latency": 2}
    lines = lines_of(result)
    assert lines["latency"]["basis"] == "common reference"
    assert lines["quality"]["verdict"] == "equivalent"  # the same model gives the same answers


def test_decisions_are_compared_label_by_label(again_folder: Path) -> None:
    before = again_folder / "before.json"
    before.write_bytes((again_folder / "results" / "decision.json").read_bytes())
    assert bakeoff(again_folder, "decide", "-q").returncode in (0, 4)
    code, result = compare(again_folder, "before.json", "results/decision.json")
    printed = {"format_version": 2, "command": "decide", "result": open_sealed(before.read_bytes())}
    (again_folder / "printed.json").write_text(json.dumps(printed))  # as `decide --json` does
    assert compare(again_folder, "printed.json", "results/decision.json")[1]["pairs"] == result["pairs"]
    assert code in (0, 3, 4)
    assert [pair["baseline"]["label"] for pair in result["pairs"]] != []
    assert {pair["baseline"]["label"] for pair in result["pairs"]} == {TORCH, ONNX}
    for pair in result["pairs"]:
        assert pair["baseline"]["label"] == pair["candidate"]["label"]
        assert (pair["baseline"]["attempts"]["latency"], pair["candidate"]["attempts"]["latency"]) == (1, 2)
    assert any(remark.startswith("winner: ") for remark in result["remarks"])
    for path in (again_folder / "results" / "jobs").glob("*/001.*"):
        path.unlink()  # a fresh disk: what a decision was made of is fetched from the tracking store
    fetched = compare(again_folder, "before.json", "results/decision.json")
    assert fetched == (code, result)
    offline, told = compare(again_folder, "before.json", "results/decision.json", "--offline")
    assert offline == 4
    assert any("no attempt at" in remark for remark in told["remarks"])
    (champion,) = (again_folder / "results" / "champions").glob("*/benchmark.json")
    code, of_file = compare(again_folder, "before.json", str(champion))
    assert {pair["candidate"]["attempts"]["latency"] for pair in of_file["pairs"]} == {2}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((TORCH, "nothing"), "'nothing': no measured candidate matches"),
        ((TORCH, ""), "'': no measured candidate matches"),
        (("tiny", ONNX), "'tiny': several measured candidates match"),
        ((TORCH, f"{TORCH}@0"), "no measured candidate matches"),
        ((TORCH, TORCH), "name the same measurements"),
        ((TORCH, "none.json"), "none.json: found no readable JSON"),
        ((TORCH, "results/champions.json"), "found no readable attempt"),
        ((TORCH, "x" * 5000), "no measured candidate matches"),
        (("results/decision.json", "nothing"), "'nothing': no measured candidate matches"),
        ((TORCH, "f" * 32), "reading a run failed"),
    ],
)
def test_a_name_that_means_nothing_or_two_things_is_refused(
    project_folder: Path, names: tuple[str, str], message: str
) -> None:
    done = bakeoff(project_folder, "compare", *names)
    assert done.returncode == (5 if "run failed" in message else 2), done.stderr
    assert message in " ".join(done.stderr.split())
    if "match" in message:
        assert done.stderr.count("(attempt 1)") == 4


@pytest.mark.parametrize(
    "words",
    [
        ("--margin", "-1"),
        ("--margin", "nan"),
        ("--quality-margin", "101"),
        ("--quantile", "nan"),
        ("--quantile", "1"),
        ("--batch-size", "0"),
        ("--metric", "speed"),
        ("--markdown", "--json"),
    ],
)
def test_a_setting_that_makes_no_sense_is_bad_usage(project_folder: Path, words: tuple[str, ...]) -> None:
    done = bakeoff(project_folder, "compare", TORCH, ONNX, *words)
    assert done.returncode == 2, done.stderr


def test_markdown_is_a_table_and_the_exit_code_is_the_same(project_folder: Path) -> None:
    shown = bakeoff(project_folder, "compare", TORCH, ONNX, "--markdown", "--metric", "size")
    plain = bakeoff(project_folder, "compare", TORCH, ONNX, "--metric", "size")
    assert shown.returncode == plain.returncode == 3  # the exported file is larger than the weights
    assert "|---|---|---|---|---|---|" in shown.stdout.splitlines()
    assert "**bakeoff compare: fail**" in shown.stdout
    assert "fail: a regression; its whole interval is past the margin" in plain.stdout


def test_broken_files_get_one_clear_line(project_folder: Path) -> None:
    torch = measured(project_folder, TORCH, "latency")
    path = project_folder / "results" / "jobs" / torch.job.key_digest / "001.npz"
    whole = path.read_bytes()
    for spoilt in (b"", b"PK\x03\x04", whole[: len(whole) // 2], b"\x93NUMPY"):
        path.write_bytes(spoilt)
        done = bakeoff(project_folder, "compare", torch.job.key_digest, f"{torch.job.key_digest}@1")
        assert done.returncode == 2, done.stderr
        assert f"{path.name}: found " in done.stderr
        assert "expected the bytes that bakeoff wrote" in done.stderr
    for text in ("[]", "null", "{", '{"standings": 3}', '{"runtimes": 3}', '{"runtimes": {"a": {"b": {}}}}'):
        (project_folder / "odd.json").write_text(text)
        done = bakeoff(project_folder, "compare", "odd.json", "tiny x onnx")
        assert done.returncode in (2, 4), (text, done.stdout, done.stderr)


def test_the_summary_of_the_page_goes_to_stdout_and_to_a_file(project_folder: Path) -> None:
    page = Path(bakeoff(project_folder, "report").stdout.strip()).read_text(encoding="utf-8")
    shown = re.search(r'<textarea id="summary"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert shown is not None
    printed = bakeoff(project_folder, "export", "--format", "markdown")
    assert printed.stdout == html.unescape(shown[1])
    assert printed.stdout.startswith("**bakeoff: tiny × ")
    done = bakeoff(project_folder, "export", "--format", "markdown", "pull-request.md")
    assert (project_folder / "pull-request.md").read_text(encoding="utf-8") == printed.stdout
    assert "pull-request.md: the summary of the decision" in done.stderr


def test_samples_go_to_parquet_and_back(project_folder: Path) -> None:
    done = bakeoff(project_folder, "export", "--what", "samples", "--format", "parquet", "out/s.parquet")
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(project_folder / "out" / "s.parquet").to_pylist()
    torch = measured(project_folder, TORCH, "latency")
    mine = [row for row in rows if row["key_digest"] == torch.job.key_digest and row["batch_size"] == 1]
    reading = torch.reading(LATENCY, batch_size=1)
    assert reading is not None
    assert [row["wall_ns"] for row in mine] == list(reading.values)
    assert [row["cpu_ns"] for row in mine] == list(reading.columns["cpu_ns"])
    assert [row["input"] for row in mine] == list(reading.columns["input"])


def test_every_kind_goes_to_csv_and_json_on_stdout(project_folder: Path) -> None:
    for what, column in (("decision", "candidate"), ("measurements", "quantity"), ("samples", "wall_ns")):
        text, document = (
            bakeoff(project_folder, "export", "--what", what, "--format", form, "-").stdout
            for form in ("csv", "json")
        )
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        parsed = json.loads(document)
        assert (parsed["format_version"], parsed["what"], len(parsed["rows"])) == (2, what, len(rows))
        assert [row[column] for row in rows] == [str(row[column]) for row in parsed["rows"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "csv", "results"), "results: found a folder; name a file"),
        (("--format", "parquet", "-"), "found parquet on stdout; name a file"),
        (("--format", "xlsx", "out"), "'xlsx' is not one of"),
        (("out",), "Missing option '--format'"),
        (
            ("--format", "markdown", "--what", "samples"),
            "found --what samples with --format markdown, which writes a decision only",
        ),
    ],
)
def test_an_export_that_cannot_be_written_is_bad_usage_and_writes_nothing(
    project_folder: Path, words: tuple[str, ...], message: str
) -> None:
    before = sorted(project_folder.rglob("*"))
    done = bakeoff(project_folder, "export", *words)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert sorted(project_folder.rglob("*")) == before


def test_without_measurements_there_is_nothing_to_export(project_folder: Path) -> None:
    shutil.rmtree(project_folder / "results")
    for what, message in (("decision", "no decision was made yet"), ("samples", "no samples to export")):
        done = bakeoff(project_folder, "export", "--what", what, "--format", "csv", "x.csv")
        assert done.returncode == 2
        assert message in done.stderr
        assert not (project_folder / "x.csv").exists()


def test_decisions_of_which_nothing_is_at_hand_cannot_be_told_apart(project_folder: Path) -> None:
    shutil.copyfile(project_folder / "results" / "decision.json", project_folder / "before.json")
    shutil.rmtree(project_folder / "results" / "jobs")
    code, result = compare(project_folder, "before.json", "results/decision.json", "--offline")
    assert (code, result["outcome"]) == (4, "cannot tell")
    assert sum("no attempt at" in remark for remark in result["remarks"]) == 4  # of each job
