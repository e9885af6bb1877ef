"""The versions that CI installs are those that the package allows."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
ASKED = [*PROJECT["dependencies"], *(each for extra in EXTRAS.values() for each in extra)]
PINNED = {
    canonicalize_name(name): version
    for name, found, version in (
        line.partition("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    )
    if found
}


@pytest.mark.parametrize("text", sorted({each for each in ASKED if not each.startswith("bakeoff[")}))
def test_a_pinned_version_is_an_allowed_one(text: str) -> None:
    asked = Requirement(text)
    version = PINNED.get(canonicalize_name(asked.name))
    if version is not None:
        assert asked.specifier.contains(version), f"{version} is pinned"


def test_every_dependency_of_the_core_is_pinned() -> None:
    names = {canonicalize_name(Requirement(each).name) for each in PROJECT["dependencies"]}
    assert names - set(PINNED) == set()
