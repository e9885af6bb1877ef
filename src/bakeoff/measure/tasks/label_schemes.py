"""Label schemes: how the tags of words mark entities.

========  ==========================================================  =======================
scheme    tags                                                        an entity is
========  ==========================================================  =======================
`io`      TYPE                                                        a run of one label
`bio`     B-TYPE begins, I-TYPE continues; also called `iob2`         B I I
`iob1`    I-TYPE; B-TYPE only after an entity of the same type        I I, B I if they touch
`bioes`   as `bio`, with E-TYPE for the last word, S-TYPE for one     B I E, S
========  ==========================================================  =======================

Every scheme has O for words outside. The schemes with prefixes are read alike, as conlleval reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Literal

from bakeoff.errors import MissingExtraError

Scheme = Literal["io", "bio", "iob1", "iob2", "bioes"]
# Type of an entity, and the numbers of its first and last word.
Entity = tuple[str, int, int]

OUTSIDE = "O"
_PREFIXES: dict[Scheme, str] = {"io": "", "bio": "BI", "iob1": "BI", "iob2": "BI", "bioes": "BIES"}
# A label that only a scheme with prefixes has. E-MAIL alone does not make one: an entity needs a B, I or S.
_MARK = re.compile(r"[BI]|[BIS]-.*", re.DOTALL)
_PREFIXED = re.compile(r"[BIES]-(.+)", re.DOTALL)


def name_scheme(labels: Iterable[str]) -> Scheme:
    """Name the scheme of a set of labels, such as those of a model; `bio` stands for `iob1`, too."""
    names = set(labels) - {OUTSIDE}
    if names and not any(map(_MARK.fullmatch, names)):
        return "io"
    return "bioes" if any(name.startswith(("E-", "S-")) for name in names) else "bio"


def infer_scheme(rows: Sequence[Sequence[str]]) -> Scheme:
    """Infer the scheme of tagged documents from all their tags."""
    scheme = name_scheme(tag for row in rows for tag in row)
    return "iob1" if scheme == "bio" and _is_iob1(rows) else scheme


def is_tag(tag: str, scheme: Scheme) -> bool:
    """Return whether a scheme has this tag."""
    if tag == OUTSIDE or scheme == "io":
        return bool(tag)
    return tag[:1] in _PREFIXES[scheme] and _PREFIXED.fullmatch(tag) is not None


def describe_tags(scheme: Scheme) -> str:
    """Describe the tags of a scheme, for messages."""
    if scheme == "io":
        return "O or TYPE"
    *others, last = (f"{prefix}-TYPE" for prefix in _PREFIXES[scheme])
    return f"{', '.join([OUTSIDE, *others])} or {last}"


def find_types(labels: Iterable[str], scheme: Scheme) -> frozenset[str]:
    """Return the entity types among labels; labels that the scheme does not have are ignored."""
    names = set(labels) - {OUTSIDE}
    if scheme == "io":
        return frozenset(names)
    return frozenset(match[1] for name in names if (match := _PREFIXED.fullmatch(name)))


def read_entities(tags: Sequence[str], scheme: Scheme = "bio") -> list[Entity]:
    """Read the entities of one document, in order.

    Runs of one label in `io`; as conlleval does in the others, which forgives a wrong prefix.
    """
    if scheme == "io":
        return _read_runs(tags)
    get_entities = import_reader()
    return [(str(kind), int(first), int(last)) for kind, first, last in get_entities(list(tags))]


def import_reader() -> Callable[[list[str]], list[tuple[Any, Any, Any]]]:
    """Import seqeval, whose own imports take a second, and return its reader of entities."""
    try:
        from seqeval.metrics.sequence_labeling import get_entities
    except ImportError as error:
        raise MissingExtraError("reading entities", library="seqeval", extra="torch") from error
    reader: Callable[[list[str]], list[tuple[Any, Any, Any]]] = get_entities
    return reader


def write_bio(entities: Iterable[Entity], n_words: int) -> tuple[str, ...]:
    """Write entities that share no word as BIO tags."""
    tags = [OUTSIDE] * n_words
    for kind, first, last in entities:
        tags[first : last + 1] = [f"B-{kind}", *([f"I-{kind}"] * (last - first))]
    return tuple(tags)


def _read_runs(tags: Sequence[str]) -> list[Entity]:
    found = []
    for label, run in groupby(range(len(tags)), lambda word: tags[word]):
        words = list(run)
        if label != OUTSIDE:
            found.append((label, words[0], words[-1]))
    return found


def _is_iob1(rows: Iterable[Sequence[str]]) -> bool:
    """Return whether some entity begins with I, and B only separates entities of one type that touch."""
    has_begun_with_i = False
    for row in rows:
        for before, tag in zip((OUTSIDE, *row), row, strict=False):
            if tag != OUTSIDE and before[2:] != tag[2:]:
                if tag.startswith("B"):
                    return False
                has_begun_with_i = True
    return has_begun_with_i
