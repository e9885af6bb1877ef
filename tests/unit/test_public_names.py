"""The public names: a sorted dozen, lazy, each where it is said to be."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import bakeoff


def test_the_public_names_are_sorted_and_each_stands_once() -> None:
    assert bakeoff.__all__ == sorted(set(bakeoff.__all__))


@pytest.mark.parametrize("name", bakeoff.__all__)
def test_a_public_name_is_the_object_of_its_home_and_documented(name: str) -> None:
    found = getattr(bakeoff, name)
    assert found is getattr(importlib.import_module(bakeoff._HOMES[name]), name)
    assert inspect.getdoc(found)


def test_type_checkers_see_the_same_names_from_the_same_homes() -> None:
    tree = ast.parse(inspect.getsource(bakeoff))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == bakeoff._HOMES
    assert set(seen) == set(bakeoff.__all__)


def test_a_star_import_brings_the_public_names() -> None:
    scope: dict[str, object] = {}
    exec("from bakeoff import *", scope)  # noqa: S102
    assert set(bakeoff.__all__) <= set(scope)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'bakeoff' has no attribute 'bnech'"):
        bakeoff.bnech  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'bnech'"):
        exec("from bakeoff import bnech")  # noqa: S102


def test_importing_bakeoff_imports_no_other_module_of_it_and_no_library() -> None:
    program = (
        "import sys, __future__, importlib, typing; before = set(sys.modules); import bakeoff; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["bakeoff"]


def test_an_error_is_imported_without_the_libraries_that_the_stages_need() -> None:
    program = (
        "import sys; from bakeoff import BakeoffError; "
        "print([name for name in ('mlflow', 'pydantic', 'numpy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_type_name_has_one_definition() -> None:
    homes = defaultdict(list)
    for path in sorted(Path(bakeoff.__file__).parent.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.name] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.Assign):  # an alias such as Job = TimedJob | UntimedJob
                names = [each.id for each in node.targets if isinstance(each, ast.Name)]
            for name in names:
                if name[0].isupper() and not name.isupper():
                    homes[name].append(path.name)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}
