"""Names of the fields that a format without names gives its rows."""

from __future__ import annotations

from typing import NamedTuple


class Fields(NamedTuple):
    """Names of the fields that readers fill in.

    Attributes:
        tokens: Field of the words in CoNLL columns.
        tags: Field of the tags in CoNLL columns.
        text: Field of the text that the spans of an annotation tool belong to.
        annotations: Field of the spans of an annotation tool.
    """

    tokens: str = "tokens"
    tags: str = "ner_tags"
    text: str = "text"
    annotations: str = "annotations"
