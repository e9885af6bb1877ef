"""Long documents are cut before they are encoded, and keep the token ids that they had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.tokenizer import Encoder, Encoding

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "un café crème à Paris, s'il vous plaît",
    "東京 大阪 京都",
] * 20
KINDS = ("wordpiece", "bytes", "unigram", "whole text")
SPECIAL = ["[UNK]", "[CLS]", "[SEP]"]


def make_tokenizer(kind: str) -> Any:
    """Train one of the four kinds of fast tokenizers on a few lines."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    elif kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=120, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False
        )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if kind == "whole text":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer


@pytest.fixture(scope="module")
def make_encoder() -> Callable[[str, int], tuple[Encoder, Any]]:
    """Encoder of a kind with a limit, and a tokenizer of the library that is cut at the same limit."""
    made = {kind: make_tokenizer(kind) for kind in KINDS}

    def make(kind: str, limit: int) -> tuple[Encoder, Any]:
        from tokenizers import Tokenizer

        plain = Tokenizer.from_str(made[kind].to_str())
        plain.enable_truncation(limit)
        ours = Tokenizer.from_str(made[kind].to_str())
        return Encoder(Checkpoint(Path(), ("O",), 0), limit, ours), plain

    return make


# What stands for few tokens in many characters, and for many in few.
PIECES = st.one_of(
    st.sampled_from(["quick", "café", "Paris,", "東京大阪", "e\u0301", "🦊", "zzz", "\u200b", "\x00", "the"]),
    st.builds(
        str.__mul__, st.sampled_from([" ", "\n", "q", "東", "\u200b", "a ", "\u0301"]), st.integers(1, 9000)
    ),
)
TEXTS = st.lists(PIECES, max_size=12).map(" ".join) | st.lists(PIECES, max_size=12).map("".join)
LIMITS = st.sampled_from([3, 8, 20, 100])
calmly = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@pytest.mark.parametrize("kind", KINDS)
@calmly
@given(text=TEXTS, limit=LIMITS)
def test_a_text_has_the_tokens_that_the_library_gives_it(
    make_encoder: Callable[[str, int], tuple[Encoder, Any]], kind: str, text: str, limit: int
) -> None:
    encoder, plain = make_encoder(kind, limit)
    found, wanted = encoder.encode_text(text), plain.encode(text)
    assert list(found.ids) == wanted.ids
    assert found.is_truncated == bool(wanted.overflowing)


@pytest.mark.parametrize("kind", KINDS)
@calmly
@given(words=st.lists(PIECES, max_size=60), times=st.sampled_from([1, 100]), limit=LIMITS)
def test_words_have_the_tokens_that_the_library_gives_them(
    make_encoder: Callable[[str, int], tuple[Encoder, Any]],
    kind: str,
    words: list[str],
    times: int,
    limit: int,
) -> None:
    many = [word[:300] for word in words] * times
    encoder, plain = make_encoder(kind, limit)
    found, wanted = encoder.encode(many), plain.encode(many, is_pretokenized=True)
    assert list(found.ids) == wanted.ids
    first = {word: place for place, word in reversed(list(enumerate(wanted.word_ids))) if word is not None}
    assert found.first_tokens == tuple(first.get(number) for number in range(len(many)))


@pytest.mark.parametrize("kind", KINDS)
@calmly
@given(text=TEXTS, second=TEXTS, limit=st.sampled_from([31, 101]))
def test_a_pair_has_the_tokens_that_the_library_gives_it(
    make_encoder: Callable[[str, int], tuple[Encoder, Any]], kind: str, text: str, second: str, limit: int
) -> None:
    # The library itself would keep each part of one text with each part of the other: gigabytes.
    encoder, plain = make_encoder(kind, limit)
    plain.no_truncation()
    one, other = (plain.encode(each, add_special_tokens=False).ids for each in (text, second))
    most = limit - 3
    half = most // 2
    n_one = most - min(len(other), half) if len(one) > half else len(one)
    n_other = most - min(len(one), half) if len(other) > half else len(other)
    found = encoder.encode_text(text, second)
    assert list(found.ids) == [1, *one[:n_one], 2, *other[:n_other], 2]
    assert found.type_ids.count(1) == min(len(other), n_other) + 1
    assert found.is_truncated == (len(one) + len(other) > most)


class Counting:
    """A tokenizer that counts the characters that it is given; all else is the tokenizer's own."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.n_characters = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def encode(self, text: str | Sequence[str], second: str | None = None, **more: Any) -> Any:
        self.n_characters += len(second or "") + (len(text) if isinstance(text, str) else sum(map(len, text)))
        return self._tokenizer.encode(text, second, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_is_not_read_to_its_end(kind: str) -> None:
    counting = Counting(make_tokenizer(kind))
    encoder = Encoder(Checkpoint(Path(), ("O",), 0), 64, counting)
    text = "the quick brown fox " * 2_500
    calls: list[Callable[[], Encoding]] = [
        lambda: encoder.encode_text(text),
        lambda: encoder.encode_text("Paris", text),
        lambda: encoder.encode_text(text, text),
        lambda: encoder.encode(text.split()),
        lambda: encoder.encode(["Paris", text]),
    ]
    for encode in calls:
        counting.n_characters = 0
        assert len(encode().ids) == 64
        assert counting.n_characters < 20_000
