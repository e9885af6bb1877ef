"""Energy as the kernel tells it, over a folder like that of powercap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.measure.system.memory import read_energy_uj

AddZone = Callable[..., Path]


@pytest.fixture
def add_zone(tmp_path: Path) -> AddZone:
    """Write a zone, as Linux lays them out flat beside each other; returns its counter."""

    def add(zone: str, energy_uj: object, *, name: str = "package-0") -> Path:
        folder = tmp_path / zone
        folder.mkdir(exist_ok=True)
        (folder / "name").write_text(f"{name}\n", encoding="ascii")
        (folder / "max_energy_range_uj").write_text("262143328850\n", encoding="ascii")
        counter = folder / "energy_uj"
        counter.write_text(f"{energy_uj}\n", encoding="ascii")
        return counter

    return add


def test_energy_is_that_of_all_packages_and_of_no_part_of_them_twice(
    add_zone: AddZone, tmp_path: Path
) -> None:
    add_zone("intel-rapl:0", 1_000)
    add_zone("intel-rapl:1", 20_000, name="package-1")
    add_zone("intel-rapl:0:0", 400, name="core")
    add_zone("intel-rapl:1:0", 300, name="dram")
    (tmp_path / "intel-rapl").mkdir()  # the control type: it counts nothing
    assert read_energy_uj(tmp_path) == 21_000


def test_a_counter_of_the_whole_platform_is_no_package(add_zone: AddZone, tmp_path: Path) -> None:
    """It counts the packages again, and the screen."""
    add_zone("intel-rapl:0", 1_000)
    add_zone("intel-rapl:1", 50_000, name="psys")
    assert read_energy_uj(tmp_path) == 1_000


def test_energy_is_read_anew_each_time(add_zone: AddZone, tmp_path: Path) -> None:
    add_zone("intel-rapl:0", 1_000)
    before = read_energy_uj(tmp_path)
    add_zone("intel-rapl:0", 3_500)
    after = read_energy_uj(tmp_path)
    assert before is not None
    assert after is not None
    assert after - before == 2_500


def test_a_counter_that_begins_anew_reads_less_than_before(add_zone: AddZone, tmp_path: Path) -> None:
    """So whoever takes the difference can tell, and must not take it for energy."""
    add_zone("intel-rapl:0", 262_143_328_000)
    before = read_energy_uj(tmp_path)
    add_zone("intel-rapl:0", 150)
    assert (before, read_energy_uj(tmp_path)) == (262_143_328_000, 150)


def test_a_machine_without_counters_tells_no_energy(tmp_path: Path) -> None:
    assert read_energy_uj(tmp_path) is None
    assert read_energy_uj(tmp_path / "absent") is None


def test_parts_without_a_package_are_no_energy(add_zone: AddZone, tmp_path: Path) -> None:
    add_zone("intel-rapl:0:0", 400, name="core")
    assert read_energy_uj(tmp_path) is None


@pytest.mark.parametrize("content", ["", "secret", "-"])
def test_where_one_counter_cannot_be_read_the_others_are_no_total(
    add_zone: AddZone, tmp_path: Path, content: str
) -> None:
    add_zone("intel-rapl:0", 1_000)
    add_zone("intel-rapl:1", content, name="package-1")
    assert read_energy_uj(tmp_path) is None


def test_a_counter_that_is_kept_secret_tells_no_energy(add_zone: AddZone, tmp_path: Path) -> None:
    add_zone("intel-rapl:0", 1_000)
    secret = add_zone("intel-rapl:1", 20_000, name="package-1")
    secret.unlink()
    secret.mkdir()  # reading it is an OSError for every account, also for one that may read all
    assert read_energy_uj(tmp_path) is None
