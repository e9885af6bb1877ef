"""Label schemes: the same entities come back, however they were written."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.errors import UnknownLabelsError
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.measure.tasks.label_schemes import (
    Entity,
    Scheme,
    describe_tags,
    find_types,
    infer_scheme,
    is_tag,
    name_scheme,
    read_entities,
    write_bio,
)
from bakeoff.measure.tasks.token_classification import TokenClassification, list_types

TASK = TokenClassification()
SCHEMES: tuple[Scheme, ...] = ("io", "bio", "iob1", "iob2", "bioes")
TYPES = ("PERSON", "SKILL", "E-MAIL", "x-y z")


def write(entities: Sequence[Entity], n_words: int, scheme: Scheme) -> list[str]:
    """Tags by the definition of each scheme, word by word."""
    tags, before = ["O"] * n_words, ("", -2, -2)
    for entity in entities:
        kind, first, last = entity
        touches = before[0] == kind and before[2] == first - 1
        for word in range(first, last + 1):
            prefix = "B" if word == first else "I"
            if scheme == "iob1" and not touches:
                prefix = "I"
            if scheme == "bioes" and word == last:
                prefix = "S" if first == last else "E"
            tags[word] = kind if scheme == "io" else f"{prefix}-{kind}"
        before = entity
    return tags


@st.composite
def marked_texts(draw: st.DrawFn) -> tuple[list[Entity], int]:
    """Entities in order, none of which share a word, and the number of words."""
    entities: list[Entity] = []
    at = 0
    for _ in range(draw(st.integers(0, 5))):
        first = at + draw(st.integers(0, 2))
        at = first + draw(st.integers(1, 3))
        entities.append((draw(st.sampled_from(TYPES)), first, at - 1))
    return entities, at + draw(st.integers(1, 3))


def joined(entities: Sequence[Entity]) -> list[Entity]:
    """Entities of one type that touch, as one: plain labels cannot tell them apart."""
    runs: list[Entity] = []
    for kind, first, last in entities:
        if runs and runs[-1][0] == kind and runs[-1][2] == first - 1:
            runs[-1] = (kind, runs[-1][1], last)
        else:
            runs.append((kind, first, last))
    return runs


@pytest.mark.parametrize("scheme", SCHEMES)
@given(text=marked_texts())
def test_entities_come_back_from_the_tags_of_every_scheme(
    scheme: Scheme, text: tuple[list[Entity], int]
) -> None:
    entities, n_words = text
    tags = write(entities, n_words, scheme)
    expected = joined(entities) if scheme == "io" else entities
    assert read_entities(tags, scheme) == expected
    assert all(is_tag(tag, scheme) for tag in tags)
    assert find_types(tags, scheme) == {kind for kind, _, _ in entities}


@given(text=marked_texts())
def test_bio_tags_that_bakeoff_writes_are_those_of_the_scheme(text: tuple[list[Entity], int]) -> None:
    entities, n_words = text
    assert list(write_bio(entities, n_words)) == write(entities, n_words, "bio")


@pytest.mark.parametrize("scheme", ["io", "bio", "bioes"])
@given(text=marked_texts())
def test_the_inferred_scheme_reads_the_same_entities(scheme: Scheme, text: tuple[list[Entity], int]) -> None:
    entities, n_words = text
    tags = write(entities, n_words, scheme)
    expected = joined(entities) if scheme == "io" else entities
    assert read_entities(tags, infer_scheme([tags])) == expected


@pytest.mark.parametrize(
    ("rows", "scheme"),
    [
        (["SKILL SKILL O", "PERSON O O"], "io"),
        (["O E-MAIL O"], "io"),
        (["E-MAIL PERSON"], "io"),
        (["B-A I-A O", "O I-A"], "bio"),
        (["B-A B-A O"], "bio"),
        (["I-A I-A O", "O I-A B-A"], "iob1"),
        (["I-A I-B B-B"], "iob1"),
        (["I-A I-A O", "O B-A"], "bio"),
        (["S-A O"], "bioes"),
        (["B-A E-A O"], "bioes"),
        (["O O"], "bio"),
        (["B I O"], "bio"),
    ],
)
def test_a_scheme_is_inferred_from_the_tags(rows: list[str], scheme: str) -> None:
    assert infer_scheme([row.split() for row in rows]) == scheme


def test_labels_of_a_model_name_its_scheme() -> None:
    assert name_scheme(("O", "SKILL", "PERSON")) == "io"
    assert name_scheme(("O", "I-SKILL", "B-SKILL")) == "bio"
    assert name_scheme(("O", "B-A", "I-A", "E-A", "S-A")) == "bioes"
    assert name_scheme(("[PAD]", "O", "B-A", "I-A", "X")) == "bio"
    assert name_scheme(("LABEL_0", "LABEL_1")) == "io"
    assert name_scheme(("O",)) == "bio"


def test_only_tags_of_the_scheme_are_accepted() -> None:
    assert [is_tag(tag, "bio") for tag in ("O", "B-A", "I-A", "E-A", "A", "B-", "B", "")] == [
        *[True] * 3,
        *[False] * 5,
    ]
    assert [is_tag(tag, "bioes") for tag in ("E-A", "S-A", "U-A")] == [True, True, False]
    assert [is_tag(tag, "io") for tag in ("A", "B-A", "")] == [True, True, False]
    assert describe_tags("bio") == "O, B-TYPE or I-TYPE"
    assert describe_tags("bioes") == "O, B-TYPE, I-TYPE, E-TYPE or S-TYPE"


def test_wrong_prefixes_are_forgiven_as_conlleval_forgives_them() -> None:
    assert read_entities(["I-A", "I-A", "I-B", "O", "B-A", "I-B"]) == [
        ("A", 0, 1),
        ("B", 2, 2),
        ("A", 4, 4),
        ("B", 5, 5),
    ]


def test_entities_are_compared_across_schemes() -> None:
    actual = ["B-A", "I-A", "O", "B-C", "O"]
    document = TaggedDocument(tokens=tuple("abcde"), tags=tuple(actual))

    def count(tags: list[str], labels: tuple[str, ...]) -> tuple[float, ...]:
        found = TASK.compare([document], [tags], labels)
        return tuple(float(found[name][0]) for name in ("true_positives", "predicted", "actual", "exact"))

    assert count(["A", "A", "O", "C", "O"], ("O", "A", "C")) == (2, 2, 2, 5)
    assert count(["B-A", "E-A", "O", "S-C", "O"], ("O", "B-A", "E-A", "S-C")) == (2, 2, 2, 5)
    assert count(["I-A", "I-A", "O", "I-C", "O"], ("O", "I-A", "I-C")) == (2, 2, 2, 5)
    assert count(["A", "O", "O", "C", "C"], ("O", "A", "C")) == (0, 2, 2, 3)


def test_models_of_bioes_data_have_all_four_prefixes() -> None:
    one = TaggedDocument(tokens=("a", "b"), tags=("S-A", "O"))
    assert TASK.list_labels([one]) == ("O", "B-A", "E-A", "I-A", "S-A")
    assert TASK.list_labels([one.replace(tags=("I-A", "O"))]) == ("O", "B-A", "I-A")


def test_labels_are_matched_by_type_and_unknown_ones_are_named() -> None:
    documents = [
        TaggedDocument(tokens=("a", "b"), tags=("B-SKILL", "B-PERSON")),
        TaggedDocument(tokens=("a",)),
    ]
    assert list_types(documents) == ("PERSON", "SKILL")
    TASK.require_labels_known("tiny", ("O", "SKILL", "PERSON"), documents)
    TASK.require_labels_known("tiny", ("O", "I-SKILL", "S-PERSON"), documents)
    with pytest.raises(UnknownLabelsError) as caught:
        TASK.require_labels_known("tiny", ("O", "SKILL", "LABEL_7"), documents)
    assert str(caught.value) == (
        "tiny: found labels in data.test that the model does not know: PERSON; it knows LABEL_7, SKILL; "
        "measure it on data with its labels, rename the labels of the data, or remove quality from "
        "benchmark.scenarios"
    )
