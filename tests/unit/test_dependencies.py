"""The versions that CI installs are those that the package allows."""

from __future__ import annotations

import re
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


LOCKED = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?: ;[^\\\n]*)? \\\n(?P<hashes>(?:    --hash=sha256:.*\n)+)", re.M
)


def test_every_dependency_of_the_core_is_locked_with_hashes_at_its_pinned_version() -> None:
    text = (ROOT / "requirements-core.lock").read_text(encoding="utf-8")
    locked = {canonicalize_name(match["name"]): match["version"] for match in LOCKED.finditer(text)}
    assert len(locked) == len(re.findall(r"^[\w.-]+==", text, re.M))
    assert {canonicalize_name(Requirement(each).name) for each in PROJECT["dependencies"]} <= set(locked)
    assert {name: PINNED[name] for name in locked if name in PINNED} == {
        name: version for name, version in locked.items() if name in PINNED
    }


def test_every_dependency_of_the_core_is_pinned() -> None:
    names = {canonicalize_name(Requirement(each).name) for each in PROJECT["dependencies"]}
    assert names - set(PINNED) == set()
