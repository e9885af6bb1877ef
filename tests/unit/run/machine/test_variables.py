"""Variables of child processes: what runtimes need, and nothing that only looks like it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bakeoff.run.machine.variables import choose_variables


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", []),
        (os.pathsep, []),
        (f"{os.pathsep}/opt/lib", ["/opt/lib"]),
        (f"/opt/a{os.pathsep}{os.pathsep}/opt/b", ["/opt/a", "/opt/b"]),
        ("lib", ["HERE/lib"]),
    ],
)
def test_an_empty_entry_of_pythonpath_lets_no_working_folder_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = choose_variables({"PYTHONPATH": given}).get("PYTHONPATH", "").split(os.pathsep)
    own = [entry for entry in found if entry and Path(entry, "bakeoff").is_dir()]
    assert [entry for entry in found if entry and entry not in own] == [
        entry.replace("HERE", str(tmp_path)) for entry in expected
    ]


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "HF_HUB_TOKEN", "BAKEOFF_TOKEN", "MKL_LICENSE_KEY", "TORCH_API_KEY", "OMP_password"]
)
def test_a_secret_in_the_family_of_a_library_is_dropped_unless_named(name: str) -> None:
    assert name not in choose_variables({name: "s"})
    assert choose_variables({name: "s"}, [name])[name] == "s"


@pytest.mark.parametrize(
    "name", ["TOKENIZERS_PARALLELISM", "HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "LD_LIBRARY_PATH"]
)
def test_what_a_runtime_needs_gets_through(name: str) -> None:
    assert choose_variables({name: "1"})[name] == "1"
