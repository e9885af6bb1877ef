"""Character spans: a text with marked places, as words with tags."""

from __future__ import annotations

import re
import string
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from bakeoff.measure.tasks.label_schemes import OUTSIDE, Entity, write_bio
from bakeoff.record import Record

_CHUNK = re.compile(r"\S+")


class WordPlace(NamedTuple):
    """Place of a word: characters from ``start`` up to, not including, ``end``."""

    start: int
    end: int


class Span(NamedTuple):
    """Labelled place in a text."""

    start: int
    end: int
    label: str


class AlignedText(Record):
    """A text as words with BIO tags.

    Attributes:
        n_widened: Spans that began or ended within a word; they cover the whole word now.
        n_dropped: Spans without a word of their own: an earlier span has the word, or they hold no word.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    n_widened: int
    n_dropped: int


def split_words(text: str) -> tuple[WordPlace, ...]:
    """Split a text into words at white space, and set each punctuation mark apart as a word.

    Marks are the characters of Unicode's punctuation and the symbols of ASCII, as in BERT's tokenizers. So
    spans on both sides of a slash are two entities, and a full stop is not part of a name.
    """
    words = []
    for chunk in _CHUNK.finditer(text):
        for is_mark, run in groupby(range(*chunk.span()), lambda at: _is_mark(text[at])):
            places = list(run)
            words += [(at, at + 1) for at in places] if is_mark else [(places[0], places[-1] + 1)]
    return tuple(WordPlace(*word) for word in words)


def align_spans(text: str, spans: Iterable[Span]) -> AlignedText:
    """Give the words that a span touches its label.

    Of spans that share a word the one that begins first counts, then the longest. Equal spans count once, and
    a span with the label O marks nothing.
    """
    words = split_words(text)
    starts, ends = [word.start for word in words], [word.end for word in words]
    entities: list[Entity] = []
    n_widened = n_dropped = 0
    for span in sorted(set(spans), key=lambda span: (span.start, -span.end, span.label)):
        if span.label == OUTSIDE:
            continue
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end) - 1
        entity = (span.label, first, last)
        if entity in entities[-1:]:
            continue
        if first > last or (entities and first <= entities[-1][2]):
            n_dropped += 1
            continue
        entities.append(entity)
        n_widened += starts[first] < span.start or ends[last] > span.end
    return AlignedText(
        tokens=tuple(text[word.start : word.end] for word in words),
        tags=write_bio(entities, len(words)),
        n_widened=n_widened,
        n_dropped=n_dropped,
    )


def _is_mark(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")
