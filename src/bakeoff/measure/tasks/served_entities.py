"""Requests for entities: a text or its words in, entities with their places out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bakeoff.errors import DataError
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.measure.tasks.label_schemes import Scheme, read_entities
from bakeoff.measure.tasks.served import TEXT, Column, Request, Word, list_words

TOKENS = "tokens"
COLUMNS = (Column(TEXT, "string", is_required=False), Column(TOKENS, "strings", is_required=False))
_WORD = re.compile(r"\S+")


def split_words(text: str) -> tuple[Word, ...]:
    """Split a text into words at white space; punctuation stays part of a word.

    The training texts are lists of words. Joined by blanks they split into the same words here. If a corpus
    sets punctuation apart, the text must set it apart, too.
    """
    return tuple(Word(match.group(), *match.span()) for match in _WORD.finditer(text))


def join_words(tokens: Iterable[str]) -> tuple[str, tuple[Word, ...]]:
    """Join words by blanks, and return the text and the place of each word in it."""
    words: list[Word] = []
    start = 0
    for token in tokens:
        words.append(Word(token, start, start + len(token)))
        start += len(token) + 1
    return " ".join(word.text for word in words), tuple(words)


def read_words_request(number: int, row: Mapping[str, object]) -> Request:
    """Read a text, or a list of words that is not split again.

    Args:
        number: Number of the row, for messages.
        row: Values of the row: ``text`` or ``tokens``.

    Raises:
        DataError: The row holds neither of them, or both.
    """
    text, given = row.get(TEXT), list_words(row.get(TOKENS))
    if isinstance(text, str) and given is None:
        words = split_words(text)
    elif given is not None and not isinstance(text, str):
        text, words = join_words(given)
    else:
        found = "neither text nor tokens" if given is None else "both text and tokens"
        raise DataError(f"row {number}", found=found, expected="one of them: a string, or a list of words")
    document = TaggedDocument(tokens=tuple(word.text for word in words)) if words else None
    return Request(document, text, words)


def place_entities(request: Request, tags: Sequence[str], scheme: Scheme) -> list[dict[str, Any]]:
    """List the entities of tags with their places in the text of the request."""
    text, words = request.text, request.words
    return [
        {
            "type": kind,
            "text": text[words[first].start : words[last].end],
            "start": words[first].start,
            "end": words[last].end,
            "first_word": first,
            "last_word": last,
        }
        for kind, first, last in read_entities(tags, scheme)
    ]
