"""Documents: every form that labelled and bare texts come in is read into the same records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.config.data import DataSettings
from bakeoff.errors import DataError
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.measure.tasks.task import DocumentSet
from bakeoff.measure.tasks.token_classification import TokenClassification
from bakeoff.orchestrator.plan import digest_documents
from bakeoff.stores.documents import read_document_file, require_labels

ADA = TaggedDocument(tokens=("Ada", "Lovelace", "left"), tags=("B-PER", "I-PER", "O"))


def read(folder: Path, content: str | list[Any], **settings: Any) -> DocumentSet:
    text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
    path = folder / "test.jsonl"
    path.write_bytes(text.encode())
    return read_document_file(path, DataSettings(task=TokenClassification(**settings)))


def tagged(*tags: object) -> dict[str, Any]:
    return {"tokens": list(ADA.tokens), "ner_tags": list(tags)}


# As bakeoff computed it before it read anything but words with tags.
DIGEST = "02dc92bd06dc8d69552911d0605563b514f983fa355bf42abd9994ac7c02d8be"
SPANS = {"text": "Ada Lovelace left", "annotations": [[0, 12, "PER"]]}
NAMED_SPANS = {"text": SPANS["text"], "annotations": [{"start": 0, "end": 12, "label": "PER", "id": 7}]}


@pytest.mark.parametrize(
    ("content", "settings", "form"),
    [
        ([tagged("PER", "PER", "O")], {}, "tags in io"),
        ([tagged("B-PER", "I-PER", "O")], {}, "tags in bio"),
        ([tagged("B-PER", "I-PER", "O")], {"scheme": "iob2"}, "tags in iob2"),
        ([tagged(1, 1, 0)], {"labels": ["O", "PER"]}, "tags in io"),
        ([tagged(1, 2, 0)], {"labels": ["O", "B-PER", "I-PER"]}, "tags in bio"),
        ([SPANS], {}, "character spans"),
        ([NAMED_SPANS], {}, "character spans"),
        (json.dumps([SPANS], indent=1), {}, "character spans"),
        (
            [{"text": SPANS["text"], "label": [[0, 12, "PER"]]}],
            {"annotations_field": "label"},
            "character spans",
        ),
        ("\ufeff" + json.dumps(tagged("PER", "PER", "O")) + "\r\n", {}, "tags in io"),
    ],
)
def test_every_form_gives_the_same_document(
    tmp_path: Path, content: str | list[Any], settings: dict[str, Any], form: str
) -> None:
    found = read(tmp_path, content, **settings)
    assert (found.documents, found.form, found.remarks) == ((ADA,), form, ())


def test_tags_with_prefixes_stay_as_they_are(tmp_path: Path) -> None:
    for scheme, tags in (("iob1", ("I-PER", "I-PER", "O")), ("bioes", ("B-PER", "E-PER", "O"))):
        found = read(tmp_path, [tagged(*tags)])
        assert (found.form, found.documents[0]) == (f"tags in {scheme}", ADA.replace(tags=tags))


def test_texts_without_labels_are_documents(tmp_path: Path) -> None:
    bare = (TaggedDocument(tokens=("Ada", "left", ".")),)
    for content in (
        json.dumps(["Ada left."]),
        '"Ada left."\n',
        [{"text": "Ada left."}],
        [{"text": "Ada left.", "annotations": None}],
        [{"tokens": ["Ada", "left", "."]}],
    ):
        found = read(tmp_path, content)
        assert (found.documents, found.form) == (bare, "no labels")
    with pytest.raises(
        DataError, match=r"found 1 document without labels \(first: number 1\); expected labels in"
    ):
        require_labels(tmp_path, bare, DataSettings(), "the quality scenario")
    nothing_marked = read(tmp_path, [{"text": "Ada left.", "annotations": []}]).documents
    require_labels(tmp_path, nothing_marked, DataSettings(), "the quality scenario")


def test_separators_of_lines_within_a_text_do_not_divide_it(tmp_path: Path) -> None:
    line = json.dumps({"tokens": ["a\u2028b", "c\x85d"], "ner_tags": ["O", "O"]}, ensure_ascii=False)
    assert read(tmp_path, f"{line}\n\n{line}\n").documents[1].inputs == ["a\u2028b", "c\x85d"]


def test_changes_to_spans_are_remarked_once_with_their_numbers(tmp_path: Path) -> None:
    row = {"text": "Javascript, Go", "annotations": [[0, 4, "A"], [0, 10, "B"], [12, 13, "A"]]}
    assert read(tmp_path, [row, row]).remarks == (
        "2 spans began or ended within a word; bakeoff takes the whole words",
        "2 spans excluded: another span has the word, or the span has none",
    )


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ([tagged("PER", "PER", "O"), tagged("B-PER", "I-PER", "O")], {}, ":1: found tag 'PER' in 'ner_tags'"),
        (
            [tagged("B-PER", "E-PER", "O")],
            {"scheme": "bio"},
            "'E-PER' in 'ner_tags'; expected O, B-TYPE or I-TY",
        ),
        ([tagged("B", "I", "O")], {}, "found tag 'B'"),
        ([tagged(1, 1, 0)], {}, "found integers; expected tags as text; set data.task.labels"),
        (
            [tagged(1, -100, 0)],
            {"labels": ["O", "PER"]},
            "found -100; expected 0 to 1, the numbers of data.task.labels",
        ),
        ([tagged(True, 1, 0)], {"labels": ["O", "PER"]}, "expected a non-empty list of words"),
        ([tagged("PER", "O")], {}, "expected one tag for each word"),
        ([{"words": ["a"]}], {}, "field 'tokens': found nothing; expected a non-empty list of words"),
        ([{"text": 3}], {}, "field 'text': found 3; expected a text"),
        ([{"text": "  "}], {}, "found a text without a word"),
        (json.dumps(["a", " "]), {}, "document 2: found a text without a word"),
        (json.dumps([["a"]]), {}, "document 1: found a list; expected one JSON object"),
        ("[" * 100_000, {}, "found invalid JSON"),
        ("[]", {}, "found no document"),
        ([{"text": "a", "annotations": {"0": 1}}], {}, "expected a list of spans"),
        ([{"text": "ab", "annotations": [[0, 3, "A"]]}], {}, "0 <= start < end <= 2, the length of the text"),
        (
            [{"text": "ab", "annotations": [[1, 1, "A"]]}],
            {},
            "found [1, 1, 'A']; expected [start, end, LABEL]",
        ),
        ([{"text": "ab", "annotations": [[0, 1, ""]]}], {}, "expected [start, end, LABEL]"),
        ([{"text": "ab", "annotations": [{"start": 0, "label": "A"}]}], {}, "expected [start, end, LABEL]"),
    ],
)
def test_a_broken_document_is_named_with_its_place(
    tmp_path: Path, content: str | list[Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, content, **settings)
    assert message in str(caught.value)


def test_documents_without_tags_are_identified_by_their_words() -> None:
    bare = ADA.replace(tags=())
    assert digest_documents([ADA]) == DIGEST
    assert digest_documents([bare]) not in (digest_documents([ADA]), digest_documents([bare, bare]))
