"""Markdown that shows text from outside as it is: without markup, links and mentions."""

from __future__ import annotations

import re

from bakeoff.report.text.units import clean

_MARKUP = re.compile(r"([\\`*_\[\]|~$!])")
# Sites turn "@name" and "#12" into links and notifications after they decode entities and backslashes. Only a
# character of no width between the two stops them.
_NO_WIDTH = "&#8203;"


def escape_markdown(text: str) -> str:
    """Escape one line for a table cell in a comment on a pull request."""
    escaped = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = _MARKUP.sub(r"\\\1", escaped)
    escaped = escaped.replace("://", "&#58;//").replace("www.", "www&#46;")
    return re.sub(r"([@#])(?!\d+;)", rf"\1{_NO_WIDTH}", escaped)
