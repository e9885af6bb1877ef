"""Text from outside as Markdown that shows it as it is: no markup, no link, and nobody is called by name."""

from __future__ import annotations

import re

from bakeoff.report.text.units import clean

_MARKUP = re.compile(r"([\\`*_\[\]|~$!])")
# Sites turn "@name" and "#12" into links and notifications wherever the text ends up, so that neither an
# entity nor a backslash stops them; a character of no width between the two does.
_NO_WIDTH = "&#8203;"


def escape_markdown(text: str) -> str:
    """One line, fit for a cell of a table in a comment on a pull request."""
    escaped = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = _MARKUP.sub(r"\\\1", escaped)
    escaped = escaped.replace("://", "&#58;//").replace("www.", "www&#46;")
    return re.sub(r"([@#])(?!\d+;)", rf"\1{_NO_WIDTH}", escaped)
