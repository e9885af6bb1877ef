"""Digests: one byte string for one value, as RFC 8785 says, and one digest for one content."""

from __future__ import annotations

import hashlib
import json
import os
import string
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.disk.digest import canonical_json, digest_file, digest_folder, digest_json, shorten
from bakeoff.errors import CheckpointError

SAFE = 2**53 - 1
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

# --- canonical JSON: the rules of RFC 8785, section 3.2 ---------------------------------------------------


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0"),
        (-0.0, "0"),
        (7.0, "7"),
        (-1.50, "-1.5"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (2.5e-7, "2.5e-7"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1 / 3, "0.3333333333333333"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (SAFE, "9007199254740991"),
        (-SAFE, "-9007199254740991"),
        (float(2**68), "295147905179352830000"),
    ],
)
def test_numbers_are_written_as_ecmascript_writes_them(number: float, written: str) -> None:
    assert canonical_json(number) == written.encode()


def test_only_what_json_must_escape_is_escaped_and_each_in_one_way() -> None:
    controls = "".join(map(chr, range(0x20)))
    escaped = (
        r"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f"
        r"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f"
    )
    assert canonical_json(controls).decode() == f'"{escaped}"'
    assert canonical_json('a"b\\c/d').decode() == r'"a\"b\\c/d"'
    assert canonical_json("\x7f\u00e9\u2028\u2029\U0001f600<&>").decode() == (
        '"\x7f\u00e9\u2028\u2029\U0001f600<&>"'
    )


def test_keys_are_sorted_by_utf_16_code_units_not_by_code_points() -> None:
    # U+1F34E is written as the pair D83C DF4E, which sorts before U+FB01 and U+FF5E.
    keys = ["\uff5e", "\U0001f34e", "b", "", "aa", "a", "B", "\u00e4", "10", "9", "\ufb01"]
    expected = ["", "10", "9", "B", "a", "aa", "b", "\u00e4", "\U0001f34e", "\ufb01", "\uff5e"]
    assert list(json.loads(canonical_json(dict.fromkeys(keys, 0)))) == expected
    assert sorted(keys) != expected


def test_keys_are_sorted_at_every_depth_and_no_space_is_written() -> None:
    value = {"z": [{"b": None, "a": True}, []], "y": {"d": {}, "c": (False, 1)}}
    assert canonical_json(value) == b'{"y":{"c":[false,1],"d":{}},"z":[{"a":true,"b":null},[]]}'


def test_text_is_not_normalised() -> None:
    assert digest_json("\u00e9") != digest_json("e\u0301")


@given(VALUES)
def test_canonical_json_reads_back_as_the_value(value: object) -> None:
    # Digits past the 17th are zeros in ECMAScript's form: as an integer it would be another number.
    assert json.loads(canonical_json(value), parse_int=float) == value


@given(st.dictionaries(st.text(), VALUES, min_size=2, max_size=6), st.randoms())
def test_the_order_in_which_keys_were_set_changes_nothing(value: dict[str, object], dice: Random) -> None:
    names = list(value)
    dice.shuffle(names)
    assert canonical_json({name: value[name] for name in names}) == canonical_json(value)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        float("-inf"),
        2**53,
        -(2**53),
        b"bytes",
        {1, 2},
        Path("x"),
        {1: "a number as key"},
        "half of a pair \ud83c",
        {"half of a pair \ud83c": 1},
    ],
)
def test_what_json_has_no_form_for_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^no canonical JSON for "):
        canonical_json({"deep": [value]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a", "bc"], ["ab", "c"]),
        ({"a": {"b": 1}}, {"a.b": 1}),
        (True, 1),
        (False, 0),
        (None, "null"),
        ("1", 1),
        ([], {}),
        ([[1], 2], [[1, 2]]),
    ],
)
def test_values_that_look_alike_have_different_digests(one: object, other: object) -> None:
    assert digest_json(one) != digest_json(other)


def test_a_digest_is_sha256_in_64_lower_case_hex_digits_and_12_of_them_are_shown() -> None:
    digest = digest_json({"b": 1, "a": 2})
    assert digest == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()
    assert len(digest) == 64
    assert set(digest) <= set(string.hexdigits.lower())
    assert shorten(digest) == digest[:12]


# --- files and folders ------------------------------------------------------------------------------------


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert digest_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkpoint"
    (made / "deep" / "er").mkdir(parents=True)
    (made / "config.json").write_bytes(b"{}")
    (made / "deep" / "er" / "weights").write_bytes(b"\0\1")
    (made / "Übersicht.txt").write_bytes(b"")
    return made


def test_the_digest_of_a_folder_depends_on_names_and_bytes_alone(folder: Path, tmp_path: Path) -> None:
    before = digest_folder(folder)
    copy = tmp_path / "elsewhere"
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            os.utime(target, (0, 0))
            target.chmod(0o600)
    (copy / "empty" / "folder").mkdir(parents=True)
    assert digest_folder(copy) == before


def test_every_change_of_a_folder_changes_its_digest(folder: Path) -> None:
    seen = {digest_folder(folder)}
    (folder / "config.json").write_bytes(b"{ }")
    seen.add(digest_folder(folder))
    (folder / "config.json").rename(folder / "config.jsn")
    seen.add(digest_folder(folder))
    (folder / "config.jsn").rename(folder / "deep" / "config.jsn")
    seen.add(digest_folder(folder))
    (folder / "deep" / "er" / "weights").unlink()
    seen.add(digest_folder(folder))
    (folder / "more").touch()
    seen.add(digest_folder(folder))
    assert len(seen) == 6


@pytest.mark.parametrize("target", ["config.json", "deep", "/etc/hostname", "nowhere"])
def test_a_symbolic_link_in_a_folder_is_refused_wherever_it_points(folder: Path, target: str) -> None:
    (folder / "deep" / "link").symlink_to(target)
    with pytest.raises(CheckpointError, match="'deep/link' is a symbolic link; copy the file itself"):
        digest_folder(folder)


def test_a_folder_that_is_not_there_has_no_digest(folder: Path) -> None:
    for path in (folder / "nowhere", folder / "config.json"):
        with pytest.raises(CheckpointError, match=f"checkpoint {path}: no such folder"):
            digest_folder(path)


def test_a_file_name_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / os.fsdecode(b"weights\xff")).touch()
    with pytest.raises(CheckpointError, match=r"the name .* is not UTF-8; rename the file") as caught:
        digest_folder(folder)
    str(caught.value).encode()
