"""Rows: files of every format give the same rows, and a file that cannot be read says what it looks like."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.core.config.data import DataFormat, DataSettings
from bakeoff.errors import DataError
from bakeoff.measure.tasks.documents import TaggedDocument, TextDocument
from bakeoff.measure.tasks.rows import Row
from bakeoff.stores.documents import Fields, digest_data, read_document_file, read_rows, write_rows

# Without a time: the ids of the parameters must be equal in every process.
GZIPPED = gzip.compress(b"a,b\n", mtime=0)

FILES = Path(__file__).parent / "files"
ADA = TaggedDocument(tokens=("Ada", "Lovelace", "left"), tags=("B-PER", "I-PER", "O"))
RAIN = TaggedDocument(tokens=("Rain", "in", "Oslo"), tags=("O", "O", "B-LOC"))
TABLE = pd.DataFrame([{"tokens": list(each.tokens), "ner_tags": list(each.tags)} for each in (ADA, RAIN)])
CONLL = "-DOCSTART- -X- -X- O\n\n" + "\n\n".join(
    "\n".join(f"{word} NN B-NP {tag}" for word, tag in zip(each.tokens, each.tags, strict=True))
    for each in (ADA, RAIN)
)


def write_csv_of_json(path: Path) -> None:
    TABLE.map(json.dumps).to_csv(path, index=False)


def write_parquet_of_fixed_lists(path: Path) -> None:
    kind = pa.list_(pa.large_string(), 3)
    columns = {name: pa.array(TABLE[name].tolist(), kind) for name in TABLE}
    pq.write_table(pa.table(columns), path, row_group_size=1, compression="zstd")


WRITERS: list[tuple[str, Callable[[Path], object]]] = [
    ("a.jsonl", lambda path: TABLE.to_json(path, orient="records", lines=True)),
    ("a.ndjson", lambda path: TABLE.to_json(path, orient="records", lines=True)),
    ("a.json", lambda path: TABLE.to_json(path, orient="records", indent=1)),
    ("a.csv", TABLE.to_csv),  # lists as Python writes them, and an index without a name
    ("b.csv", write_csv_of_json),
    ("c.csv", lambda path: TABLE.to_csv(path, sep=";", encoding="utf-8-sig")),
    ("a.tsv", lambda path: TABLE.to_csv(path, sep="\t", index=False)),
    ("a.parquet", TABLE.to_parquet),
    ("b.parquet", write_parquet_of_fixed_lists),
    ("a.conll", lambda path: path.write_text(CONLL)),
    ("a.bio", lambda path: path.write_bytes(b"\xef\xbb\xbf" + CONLL.replace(" ", "\t").encode() + b"\r\n")),
]


@pytest.mark.parametrize(("name", "write"), WRITERS, ids=[name for name, _ in WRITERS])
def test_every_format_gives_the_same_documents(
    tmp_path: Path, name: str, write: Callable[[Path], object]
) -> None:
    write(tmp_path / name)
    assert read_document_file(tmp_path / name, DataSettings()).documents == (ADA, RAIN)


@pytest.mark.parametrize("name", ["saved_by_datasets", "written_by_datasets.parquet"])
def test_what_datasets_wrote_has_names_in_place_of_numbers(name: str) -> None:
    rows = read_rows(FILES / name)
    assert [row.values for row in rows] == [
        {
            "id": number,
            "tokens": ["Ada", "Lovelace", "left"],
            "ner_tags": ["B-PER", "I-PER", "O"],
            "label": label,
            "score": score,
            "when": None,
        }
        for number, (label, score) in enumerate([("pos", 0.5), ("neg", None), (None, 2.0)])
    ]
    assert rows[2].place == f"{FILES / name}: row 3"


def test_a_folder_of_splits_names_them() -> None:
    folder = FILES / "splits_by_datasets"
    assert [values["id"] for values in values_of(read_rows(folder / "test"))] == [2, 0]
    with pytest.raises(DataError) as caught:
        read_rows(folder)
    assert str(caught.value) == (
        f"{folder}: found a dataset of several splits; expected one split; name {folder}/train, {folder}/test"
    )


def test_the_digest_of_a_folder_is_that_of_its_rows(tmp_path: Path) -> None:
    folder = copy_saved(tmp_path)
    before = digest_data(folder)
    (folder / "cache-1b2c.arrow").write_bytes(b"a cache of map()")
    change_json(folder / "state.json", _fingerprint="another")
    assert digest_data(folder) == before
    info = json.loads((folder / "dataset_info.json").read_text())
    info["features"]["label"]["names"] = ["bad", "good"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    assert digest_data(folder) != before


@pytest.mark.parametrize(
    ("name", "annotations"),
    [
        ("label_studio.json", [[[4, 16, "PER"]], [], None]),
        ("label_studio_min.json", [[[0, 12, "PER"]], None]),
        ("doccano.jsonl", [[], [[0, 12, "PER"]]]),
        ("doccano_relations.jsonl", [[[0, 12, "PER"]]]),
    ],
)
def test_exports_of_annotation_tools_have_spans(name: str, annotations: list[Any]) -> None:
    rows = read_rows(FILES / name, fields=Fields(annotations="spans"))
    assert [values.get("spans") for values in values_of(rows)] == annotations
    documents = read_document_file(FILES / name, DataSettings()).documents
    for document, spans in zip(documents, annotations, strict=True):
        assert isinstance(document, TaggedDocument)
        named = [word for word, tag in zip(document.tokens, document.tags, strict=False) if tag != "O"]
        assert named == (["Ada", "Lovelace"] if spans else [])
        assert bool(document.tags) == (spans is not None)


@pytest.mark.parametrize("name", ["label_studio.json", "label_studio_min.json"])
def test_choices_of_label_studio_are_fields(name: str) -> None:
    rows = read_rows(FILES / name)[:2]
    topics = [values["topic"] for values in values_of(rows)]
    assert topics == [["biography"], ["weather", "travel"]]


def test_two_annotations_of_one_text_are_not_guessed_between(tmp_path: Path) -> None:
    task = json.loads((FILES / "label_studio.json").read_text())[0]
    task["annotations"].append(dict(task["annotations"][0]))
    path = tmp_path / "export.json"
    path.write_text(json.dumps(task, indent=1))  # one object in a file, over several lines
    with pytest.raises(
        DataError, match=r"document 1: field 'annotations': found 2 annotations of one text; .*truth"
    ):
        read_rows(path)
    task["annotations"][1] |= {"ground_truth": True, "result": []}
    path.write_text(json.dumps(task))
    assert values_of(read_rows(path))[0]["annotations"] == []


def test_cells_of_a_table_are_text_or_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label,n\n"a, ""b""\nc",,1\n\nNaN,"[1]",-0.5\n')
    first, second = read_rows(path)
    assert first == (f"{path}:2", {"text": 'a, "b"\nc', "label": None, "n": "1"})
    assert second == (f"{path}:5", {"text": "NaN", "label": "[1]", "n": "-0.5"})


def test_texts_of_a_table_have_labels_lists_of_labels_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    table = {"text": ["Rain", "Sun"], "label": [1, 0], "labels": [["wet", "cold"], []], "degrees": [3, 21.5]}
    pd.DataFrame(table).to_csv(path)
    single = {"kind": "text_classification", "labels": ["dry", "wet"]}
    multi = {"kind": "text_classification", "label_field": "labels", "multi_label": True}
    number = {"kind": "text_regression", "target_field": "degrees"}
    read = [read_document_file(path, DataSettings(task=task)).documents for task in (single, multi, number)]
    assert read == [
        (TextDocument(text="Rain", labels=("wet",)), TextDocument(text="Sun", labels=("dry",))),
        (TextDocument(text="Rain", labels=("cold", "wet")), TextDocument(text="Sun", labels=())),
        (TextDocument(text="Rain", number=3.0), TextDocument(text="Sun", number=21.5)),
    ]


def test_values_of_arrow_become_json(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical(["a", None]),
            "when": [pd.Timestamp("2026-01-02T03:04:05"), pd.NaT],
            "number": [1.5, float("nan")],
            "raw": [b"text", None],
            "nested": [{"x": [float("nan"), 1.0]}, None],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    first, second = read_rows(tmp_path / "a.parquet")
    assert first.values == {
        "kind": "a",
        "when": "2026-01-02T03:04:05",
        "number": 1.5,
        "raw": "text",
        "nested": {"x": [None, 1.0]},
    }
    assert second.values == dict.fromkeys(frame)
    (tmp_path / "sent.jsonl").write_text(write_rows([first, second]))
    assert [row.values for row in read_rows(tmp_path / "sent.jsonl")] == [first.values, second.values]


def test_comments_of_columns_are_no_words(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("# sent_id = 1\n# text = Ada\nAda B-PER\n# O\n\n# O\n[ O\n#ada PER\n#x O\n")
    rows = read_rows(path, "conll", Fields(tokens="words", tags="tags"))
    assert rows == [
        (f"{path}:3", {"words": ["Ada", "#"], "tags": ["B-PER", "O"]}),
        (f"{path}:6", {"words": ["#", "[", "#ada", "#x"], "tags": ["O", "O", "PER", "O"]}),
    ]


MISTAKEN: list[tuple[str, DataFormat | None, bytes, str]] = [
    ("a.jsonl", None, b"PAR1....", "found a Parquet file; expected JSON; set data.format: parquet"),
    ("a.csv", None, b'{"a": 1}', "found a JSON file; expected CSV; set data.format: json"),
    ("a.jsonl", None, b"text,label\na,b\n", "found a table with commas; expected JSON; set data.format: csv"),
    ("a.parquet", None, b"a\tb\n", "found a table with tabs; expected Parquet; set data.format: csv"),
    (
        "a.jsonl",
        None,
        b"Ada B-PER\n. O\n",
        "words with tags in CoNLL columns; expected JSON; set data.format: conll",
    ),
    ("a.txt", None, b"Ada B-PER\n. O\n", "with a suffix of no known format; expected one of .jsonl, "),
    ("a.txt", None, b"Ada B-PER\n. O\n", "; set data.format: conll"),
    ("a.txt", None, b"Ada left.\n", "set data.format to one of json, csv"),
    (
        "a.tsv",
        None,
        b"Ada\tB-PER\n.\tO\n",
        "words with tags in CoNLL columns; expected CSV; set data.format: conll",
    ),
    (
        "a.conll",
        None,
        b"a,b\n1,2\n",
        "found a table with commas; expected CoNLL columns; set data.format: csv",
    ),
    (
        "a.csv.gz",
        None,
        GZIPPED,
        "found a gzip file, with a suffix of no known format",
    ),
    ("a.csv", None, GZIPPED, "found a gzip file; expected CSV; unpack it"),
    (
        "a.csv",
        None,
        b"PK\x03\x04",
        "found a ZIP file or a workbook; expected CSV; unpack it, or save the sheet",
    ),
    ("a.csv", None, "a,b\n".encode("utf-16"), "found text in UTF-16; expected CSV; save it in UTF-8"),
    ("a.pkl", None, pickle.dumps({"a": 1}, 4), "found a pickle, which could run code"),
    ("a.json", "datasets", b'{"a": 1}', "expected a folder that datasets saved; set data.format: json"),
    ("a.jsonl", None, b"", "found no document; expected at least one"),
]


@pytest.mark.parametrize(("name", "form", "content", "message"), MISTAKEN)
def test_a_file_of_another_format_says_what_it_looks_like(
    tmp_path: Path, name: str, form: DataFormat | None, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path / name, form)
    assert message in str(caught.value)


DAMAGED: list[tuple[str, bytes, str]] = [
    ("a.jsonl", b'{"a": 1}\n{"a": Infinity}\n', ":2: found invalid JSON (Infinity is not a JSON number)"),
    (
        "a.jsonl",
        b'{"a": 1}\n"caf\xe9"\n',
        ":2: found bytes that are not UTF-8 (invalid continuation byte, byte 5)",
    ),
    (
        "a.jsonl",
        b'{"a": "\\ud83d"}',
        ":1: found half of a surrogate pair; expected text; correct the \\u escape",
    ),
    ("a.jsonl", b'{"a": 1}\n["\\udc00"]\n', ":2: found half of a surrogate pair"),
    (
        "a.json",
        b'[\n{"a": "\\ud83d\\ude00 \\\\ud83d"},\n{"a":\n"\\ud83d"}]',
        ":4: found half of a surrogate pair; expected text; correct the \\u escape",
    ),
    ("a.json", b'{\n"a": "\\uDEad"}', ":2: found half of a surrogate pair"),
    ("a.jsonl", b"12\n", ":1: found a number; expected one JSON object"),
    ("a.json", b'{\n"version": 1, "data": [{}]}', "one JSON object with a list in 'data'"),
    ("a.csv", b"text,label\na\n", ":2: found 1 cell; expected 2, as in the header; quote a cell"),
    ("a.csv", b"text,text\na,b\n", ":1: found the column 'text' several times; expected different names"),
    ("a.csv", b"text,,\na,b,c\n", ":1: found no name for column 2; expected a header"),
    ("a.csv", b'text,label\na,b\n"c,d\n', ":3: found a faulty record (unexpected end of data)"),
    (
        "a.csv",
        b"text,label\na,caf\xe9\n",
        ":2: found bytes that are not UTF-8 (invalid continuation byte, byte 6",
    ),
    ("a.csv", b"text,label\n" + b"x" * 200_000 + b",1\n", "field larger than field limit (131072)"),
    ("a.conll", b"Ada NN B-PER\nleft O\n", ":2: found 2 columns; expected 3, as in the first line"),
    ("a.conll", b"Ada\nleft\n", ":1: found 1 column; expected a word and its tag"),
    ("a.conll", b"Ada\tB-PER\nleft\t\n", ":2: found an empty tag; expected a word and its tag"),
    ("a.conll", b"Ada O\ncaf\xe9 O\n", ":2: found bytes that are not UTF-8"),
    ("a.parquet", b"PAR1" + bytes(40) + b"PAR1", "expected a Parquet file; write it again"),
]


@pytest.mark.parametrize(("name", "content", "message"), DAMAGED)
def test_a_damaged_file_names_the_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1.0, float("inf")]}, "row 2: field 'x': found inf; expected a finite number; remove the row"),
        ({"x": [b"\xff\xd8"]}, "row 1: field 'x': found bytes b'\\xff\\xd8'; expected text, numbers, times"),
    ],
)
def test_a_value_that_json_cannot_hold_is_named(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path / "a.parquet")
    assert message in str(caught.value)


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="found the column 'x' several times"):
        read_rows(tmp_path / "a.parquet")


def test_few_bytes_that_stand_for_many_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, pa.schema([("x", pa.null())])) as writer:
        writer.write_table(pa.table({"x": pa.nulls(30_000_000)}), row_group_size=30_000_000)
    assert path.stat().st_size < 50_000
    with pytest.raises(
        DataError, match=r"found 30,000,000 rows of .* expected at most 20,000,000 rows of 4 GiB"
    ):
        read_rows(path)


def test_few_bytes_that_stand_for_long_lists_are_refused(tmp_path: Path) -> None:
    folder = copy_saved(tmp_path)
    item = pa.nulls(1 << 30)
    column = pa.ListArray.from_arrays(pa.array([0, 1 << 30], pa.int32()), item)
    change_json(folder / "state.json", _data_files=[{"filename": "a.arrow"}])
    with pa.OSFile(str(folder / "a.arrow"), "wb") as sink:
        batch = pa.record_batch({"x": column})
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
    with pytest.raises(DataError, match=r"found 1 rows? of 8.0 GiB; expected at most"):
        read_rows(folder)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"_data_files": []}, "found no '_data_files'"),
        (
            {"_data_files": [{"filename": "../elsewhere.arrow"}]},
            "found the file '../elsewhere.arrow'; expected the name",
        ),
        (
            {"_data_files": [{"filename": "gone.arrow"}]},
            "found no file 'gone.arrow'; expected all files of the folder",
        ),
        ({"_data_files": [{"filename": "state.json"}]}, "expected an Arrow stream that datasets wrote"),
        ({"_indices_data_files": [{"filename": "i.arrow"}]}, "call flatten_indices() on the dataset"),
    ],
)
def test_a_folder_that_is_not_whole_says_what_to_do(
    tmp_path: Path, state: dict[str, Any], message: str
) -> None:
    folder = copy_saved(tmp_path)
    change_json(folder / "state.json", **state)
    with pytest.raises(DataError) as caught:
        read_rows(folder)
    assert message in str(caught.value)


def test_another_folder_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("a\n")
    with pytest.raises(
        DataError, match=r"found a folder with test\.csv; expected a file, or a folder that datasets"
    ):
        read_rows(tmp_path)


def test_a_number_outside_the_names_of_its_labels_is_named(tmp_path: Path) -> None:
    folder = copy_saved(tmp_path)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["features"]["ner_tags"]["feature"]["names"] = ["O"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(
        DataError, match=r"row 1: field 'ner_tags': found 1; expected 0 to 0, the numbers of its lab"
    ):
        read_rows(folder)


def test_arrow_files_that_are_not_folders_say_so(tmp_path: Path) -> None:
    pyarrow.feather.write_feather(pa.table({"a": [1]}), str(tmp_path / "a.feather"))
    with pytest.raises(DataError, match="found an Arrow or Feather file"):
        read_rows(tmp_path / "a.feather")
    stream = FILES / "saved_by_datasets" / "data-00000-of-00002.arrow"
    with pytest.raises(DataError, match=r"found an Arrow stream.*name the folder that datasets saved it in"):
        read_rows(stream)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([name for name, _ in WRITERS]),
    place=st.integers(0, 4000),
    cut=st.integers(0, 9),
    added=st.binary(max_size=6),
)
def test_a_changed_file_gives_rows_or_one_line(
    tmp_path: Path, name: str, place: int, cut: int, added: bytes
) -> None:
    path = tmp_path / name
    dict(WRITERS)[name](path)
    content = path.read_bytes()
    at = place % (len(content) + 1)
    path.write_bytes(content[:at] + added + content[at + cut :])
    try:
        read_document_file(path, DataSettings())
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017


def values_of(rows: list[Row]) -> list[Mapping[str, Any]]:
    return [row.values for row in rows if not isinstance(row.values, str)]


def copy_saved(folder: Path) -> Path:
    target = folder / "saved"
    target.mkdir()
    for file in (FILES / "saved_by_datasets").iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
