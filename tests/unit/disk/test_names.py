"""Names from elsewhere: which may become a path."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.disk.names import NameRegister, find_name_fault, find_path_fault


@pytest.mark.parametrize(
    "name", ["config.json", "model-00001-of-00002.safetensors", ".gitattributes", "modèle"]
)
def test_an_ordinary_name_is_taken(name: str) -> None:
    assert find_name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is not a name"),
        (".", "is not a name"),
        ("..", "is not a name"),
        ("a/b", "separator"),
        ("a\\b", "separator"),
        ("C:", "reserved"),
        ("%2e%2e", "reserved"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("config\u202enosj.exe", "invisible"),
        ("config\u200b.json", "invisible"),
        ("\udcff", "control"),
        ("a" * 256, "longer than 255 bytes"),
    ],
)
def test_a_name_that_means_another_place_or_reads_as_another_is_refused(name: str, reason: str) -> None:
    fault = find_name_fault(name)
    assert fault is not None
    assert reason in fault
    assert fault.isprintable()


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up", "a/../../up", "a//b", "./a", "a/", "a/" * 600 + "a"]
)
def test_a_path_that_could_leave_its_folder_is_refused(path: str) -> None:
    assert find_path_fault(path) is not None


@given(st.text(alphabet=st.sampled_from("./\\:%a\0 é\u202e~"), max_size=12))
def test_no_path_that_is_taken_leaves_its_folder(path: str) -> None:
    if find_path_fault(path) is None:
        folder = Path("/cache/of/ours")
        assert (folder / path).resolve().is_relative_to(folder)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("config.json", "CONFIG.json"),
        ("config.json", "\uff43onfig.json"),  # full-width c
        ("modèle", "mode\u0300le"),
        ("straße", "STRASSE"),
        ("a/x", "A/y"),
    ],
)
def test_two_names_that_are_one_file_elsewhere_are_refused(first: str, second: str) -> None:
    register = NameRegister()
    assert register.find_fault(first, is_folder=False) is None
    assert "differ only in case or Unicode form" in str(register.find_fault(second, is_folder=False))


def test_a_file_may_be_named_once_and_a_folder_as_often_as_one_likes() -> None:
    register = NameRegister()
    for name, is_folder in [("a", True), ("a/x", False), ("a/y", False), ("a", True)]:
        assert register.find_fault(name, is_folder=is_folder) is None
    assert "is a duplicate" in str(register.find_fault("a/x", is_folder=False))
    assert "is a duplicate" in str(register.find_fault("a/x/z", is_folder=False))
    assert "is a duplicate" in str(register.find_fault("a", is_folder=False))
