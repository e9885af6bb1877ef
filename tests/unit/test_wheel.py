"""What is shipped: everything that the package reads at run time is in the wheel, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

from bakeoff.cli.help_pages import TOPICS

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "bakeoff"


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a wheel that the real build backend made of this source tree."""
    builder = WheelBuilder(str(ROOT))
    (path,) = builder.build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_whole_package_byte_for_byte(wheel: dict[str, bytes]) -> None:
    packaged = {
        name.removeprefix("bakeoff/"): data for name, data in wheel.items() if name.startswith("bakeoff/")
    }
    pages = {f"pages/{Path(page).name}": (ROOT / "docs" / page).read_bytes() for page in TOPICS.values()}
    assert packaged == files_below(SOURCE) | pages


@pytest.mark.parametrize(
    "name",
    [
        "py.typed",
        "report/templates/report.html.jinja",
        "report/templates/plot.svg.jinja",
        "report/templates/style.css",
        "demo/config/decision.yaml",
        "demo/data/LICENSE",
        "demo/data/SOURCE.md",
        "demo/data/intents_test.jsonl",
        "demo/data/intents_train.jsonl",
        "demo/data/test.jsonl",
        "demo/data/train.jsonl",
        "demo/intents/bakeoff.yaml",
    ],
)
def test_the_wheel_holds_what_no_import_would_miss(wheel: dict[str, bytes], name: str) -> None:
    assert f"bakeoff/{name}" in wheel


def test_the_wheel_carries_both_licences_and_the_command(wheel: dict[str, bytes]) -> None:
    (info,) = {name.partition("/")[0] for name in wheel if ".dist-info/" in name}
    assert wheel[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert wheel[f"{info}/licenses/src/bakeoff/demo/data/LICENSE"] == wheel["bakeoff/demo/data/LICENSE"]
    assert b"bakeoff = bakeoff.cli:main" in wheel[f"{info}/entry_points.txt"]


def test_the_wheel_holds_nothing_beside_the_package(wheel: dict[str, bytes]) -> None:
    assert {name.partition("/")[0].partition("-")[0] for name in wheel} == {"bakeoff"}
