"""Checkpoints whose files do not say one thing: refused in one line, or loaded as what they say."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bakeoff.errors import CheckpointError
from bakeoff.measure.backends import OnnxRuntime, TensorBackend, Torch
from bakeoff.measure.backends.parity import Sample, answer_all
from bakeoff.measure.backends.pretrained import load_model, require_same_ids
from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.model.tokenizer import Encoder, Encoding
from bakeoff.measure.tasks import TokenClassification
from bakeoff.measure.tasks.documents import TaggedDocument
from samples import sample_of

Tensors = Mapping[str, NDArray[Any]]
TEXTS = (("play", "music"), ("play",), ("wake", "me", "up", "at", "nine"), ("stop",))


@pytest.fixture
def folder(make_classifier: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_classifier("bert"), tmp_path / "checkpoint"))


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    (tmp_path / "prepared").mkdir()
    return tmp_path / "prepared"


def add_weights(folder: Path, added: Tensors) -> None:
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    save_file({**load_file(path), **added}, path, metadata={"format": "pt"})


def set_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")


def read_weight(folder: Path, name: str) -> NDArray[Any]:
    from safetensors.numpy import load_file

    found: NDArray[Any] = load_file(folder / "model.safetensors")[name]
    return found.copy()


# --- weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("crf.start_transitions", "crf.transitions"),
        ("bert.encoder.layer.0.attention.self.query.lora_A.weight",),
        ("bert.encoder.layer.0.attention.self.query.weight_scale_inv",),
    ],
    ids=["decoder", "LoRA", "fp8 scales"],
)
def test_weights_that_nothing_uses_are_refused_by_name(folder: Path, names: tuple[str, ...]) -> None:
    add_weights(folder, {name: np.ones((5, 5), dtype=np.float32) for name in names})
    with pytest.raises(CheckpointError) as caught:
        load_model(open_checkpoint(folder))
    assert f"weights that nothing uses: {', '.join(names)} (the model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_old_versions_saved_for_nothing_is_allowed(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    before = answer_all(Torch(threads=1).load(checkpoint, None), checkpoint, sample_of(checkpoint, TEXTS))
    square = np.ones((32, 32), dtype=np.float32)
    add_weights(
        folder,
        {
            "bert.embeddings.position_ids": np.arange(64, dtype=np.int64)[None],
            "bert.pooler.dense.weight": square,
            "bert.pooler.dense.bias": square[0].copy(),
        },
    )
    after = answer_all(Torch(threads=1).load(checkpoint, None), checkpoint, sample_of(checkpoint, TEXTS))
    np.testing.assert_array_equal(after[0], before[0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("runtime", [Torch(threads=1), OnnxRuntime(threads=1)], ids=lambda one: one.kind)
def test_a_weight_that_is_not_a_number_is_refused_though_no_text_meets_it(
    folder: Path, prepared: Path, runtime: TensorBackend, value: float
) -> None:
    name = "bert.embeddings.word_embeddings.weight"
    rows = read_weight(folder, name)
    rows[-1, 0] = value  # of the last word of the vocabulary, which is in none of the texts
    add_weights(folder, {name: rows})
    checkpoint = open_checkpoint(folder)
    sample = sample_of(checkpoint, TEXTS)
    assert all(len(rows) - 1 not in encoding.ids for encoding in sample.encodings)
    with pytest.raises(CheckpointError, match=rf"weights with NaN or infinity: {name}; restore its weights"):
        runtime.prepare(checkpoint, prepared, sample)
    assert list(prepared.iterdir()) == []


# --- configuration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flash_attention_2", "flex_attention", "kernels-community/flash-attn"])
def test_attention_that_this_machine_may_not_have_is_replaced(folder: Path, kind: str) -> None:
    checkpoint = open_checkpoint(folder)
    batch = sample_of(checkpoint, TEXTS).first_batch(checkpoint)
    wanted = Torch(threads=1).load(checkpoint, None).infer(batch)
    set_config(folder, attn_implementation=kind)
    session = Torch(threads=1).load(checkpoint, None)
    assert session.describe()["attention"] == "sdpa"
    np.testing.assert_array_equal(session.infer(batch), wanted)


def test_attention_that_every_machine_has_stays(folder: Path) -> None:
    set_config(folder, attn_implementation="eager")
    assert Torch(threads=1).load(open_checkpoint(folder), None).describe()["attention"] == "eager"


def test_a_model_that_is_configured_to_answer_tuples_answers_all_the_same(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    batch = sample_of(checkpoint, TEXTS).first_batch(checkpoint)
    wanted = Torch(threads=1).load(checkpoint, None).infer(batch)
    set_config(folder, return_dict=False)
    np.testing.assert_array_equal(Torch(threads=1).load(checkpoint, None).infer(batch), wanted)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_dropout_prob": "0.1"}, r"'hidden_dropout_prob' "),
        ({"model_type": "no-such-type"}, "no-such-type"),
        ({"hidden_act": "no-such-function"}, "no-such-function"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_config_that_transformers_cannot_load_is_one_line(
    folder: Path, changes: dict[str, Any], reason: str
) -> None:
    set_config(folder, **changes)
    with pytest.raises(
        CheckpointError, match=rf"transformers cannot load it \(.*{reason}.*correct"
    ) as caught:
        load_model(open_checkpoint(folder))
    assert "\n" not in str(caught.value)


def test_a_model_far_larger_than_its_weights_is_refused_before_memory_is_taken(
    folder: Path, prepared: Path
) -> None:
    # Without sizes, a configuration means those of the class: here seven billion weights.
    config = {"model_type": "llama", "architectures": ["LlamaForTokenClassification"]}
    labels = json.loads((folder / "config.json").read_text())["id2label"]
    (folder / "config.json").write_text(json.dumps(config | {"id2label": labels}), encoding="utf-8")
    checkpoint = open_checkpoint(folder)
    with pytest.raises(CheckpointError) as caught:
        OnnxRuntime(threads=1).prepare(checkpoint, prepared, sample_of(checkpoint, TEXTS))
    assert re.search(
        r"config\.json describes a model of 2\d,\d{3},\d{3},\d{3} bytes, the weights are [\d,]+ \(largest "
        r"tensor: model\.embed_tokens\.weight, 32000 x 4096, by vocab_size, hidden_size\); restore",
        str(caught.value),
    )
    assert "\n" not in str(caught.value)
    assert list(prepared.iterdir()) == []


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    n_ids = len(read_weight(folder, "bert.embeddings.word_embeddings.weight"))
    Encoder(open_checkpoint(folder), 32)
    set_config(folder, vocab_size=n_ids - 1)
    said = rf"tokenizer\.json has the token id {n_ids - 1}, but the model knows {n_ids - 1} ids"
    with pytest.raises(CheckpointError, match=said):
        Encoder(open_checkpoint(folder), 32)


def test_a_document_that_the_model_is_too_short_for_is_found_before_anything_is_timed(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert checkpoint.max_positions == 64
    unlimited = dataclasses.replace(checkpoint, max_positions=None)
    sample = sample_of(unlimited, TEXTS)
    longest = Encoding(ids=(5,) * 600, type_ids=(0,) * 600)
    session = Torch(threads=1).load(unlimited, None)
    answer_all(session, unlimited, sample)
    with pytest.raises(
        CheckpointError, match=r"cannot run it on a batch of 1 x 600 tokens .*data\.max_length"
    ):
        answer_all(session, unlimited, Sample(sample.task, sample.encodings, longest))


# --- the tokenizer's two files ----------------------------------------------------------------------------


def save_bert_tokenizer(folder: Path, **settings: Any) -> None:
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "Hello", "World", "paris"]
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}, **settings).save_pretrained(
        folder
    )


def save_roberta_tokenizer(folder: Path, **settings: Any) -> None:
    from transformers import RobertaTokenizer

    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *"abcdefghijklmnopqrstuvwxyzHW"]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    RobertaTokenizer(vocab=vocabulary, merges=[], **settings).save_pretrained(folder)


def set_tokenizer_config(folder: Path, **changes: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")


def require_same(folder: Path, *words: str) -> None:
    documents = (TaggedDocument(tokens=words),) if words else ()
    require_same_ids(Checkpoint(folder, ("O",), 0), TokenClassification(), documents, 32)


@pytest.mark.parametrize(
    ("save", "setting"),
    [(save_bert_tokenizer, "do_lower_case"), (save_roberta_tokenizer, "add_prefix_space")],
    ids=["case", "prefix space"],
)
@pytest.mark.parametrize("value", [True, False])
def test_token_ids_must_be_those_of_both_tokenizer_files(
    tmp_path: Path, save: Callable[..., None], setting: str, value: bool
) -> None:
    from transformers import AutoTokenizer

    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    save(tmp_path, **{setting: value})
    require_same(tmp_path, "Hello", "World")
    ours = Encoder(Checkpoint(tmp_path, ("O",), 0), 32)
    set_tokenizer_config(tmp_path, **{setting: not value})
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert list(ours.encode_text("Hello world").ids) != theirs("Hello world")["input_ids"]
    for words in ((), ("Hello", "World")):
        with pytest.raises(
            CheckpointError, match=r"other token ids than AutoTokenizer, which reads tokenizer_co"
        ):
            require_same(tmp_path, *words)
    (tmp_path / "tokenizer_config.json").unlink()
    require_same(tmp_path, "Hello", "World")  # now one file says it all


def test_a_tokenizer_that_transformers_cannot_load_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    save_bert_tokenizer(tmp_path)
    set_tokenizer_config(tmp_path, unk_token=5)
    with pytest.raises(CheckpointError, match=r"transformers cannot load its tokenizer \(") as caught:
        require_same(tmp_path, "hello")
    assert "\n" not in str(caught.value)
