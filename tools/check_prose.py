"""Fail on words that readers stumble over: in docs, docstrings, messages and templates.

Documentation has two more bounds: relative words per 1,000, and how often a how-to speaks to the reader.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Each with what to write instead.
BANNED = {
    r"tolds?|tells?|telling": "report, show, print",
    r"anew": "again",
    r"unlike": "different",
    r"lack(?:s|ing)?": "missing",
    r"is no(?! longer)": "is not a",
    r"stands? twice": "duplicate",
    r"for eyes": "for tables, for people",
    r"beside": "alongside, next to",
    r"nobody|somebody|whoever|whomever": "no worker, a worker, the host that",
    r"whatever": "any",
    r"left out|leave[s]? out|leaving out": "excluded, skipped",
    r"by eyes?": "by hand",
}
PATTERN = re.compile("|".join(rf"(?P<w{n}>\b(?:{word})\b)" for n, word in enumerate(BANNED)), re.IGNORECASE)
INSTEAD = list(BANNED.values())
RELATIVE = frozenset(
    [
        "which",
        "who",
        "whom",
        "whose",
        "what",
        "where",
        "wherever",
        "when",
        "whenever",
        "how",
        "why",
        "whether",
    ]
)
MOST_RELATIVE_PER_1000 = 18
LEAST_YOU_PER_1000 = 3
FEWEST_WORDS = 150  # a shorter page has too few for a rate
CODE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)]*\)|https?://\S+", re.DOTALL)
# Keys, commands and codes are no prose.
FEWEST_WORDS_OF_A_MESSAGE = 3


def main() -> int:
    """Check every file that git knows."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", "*.py", "*.jinja"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    faults = [fault for name in listed if Path(name).exists() for fault in check(Path(name))]
    sys.stdout.write("".join(f"{fault}\n" for fault in faults))
    sys.stdout.write(f"{len(listed)} files, {len(faults)} faults of prose\n")
    return 1 if faults else 0


def check(path: Path) -> Iterator[str]:
    """Find the faults of one file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from check_page(path, text)
        passages = [(1, CODE.sub(blank, text))]
    elif path.parts[0] != "src":
        return
    elif path.suffix == ".py":
        passages = list(read_strings(text))
    else:
        passages = [(1, re.sub(r"\{[%{#].*?[%}#]\}|<[^>]*>", blank, text, flags=re.DOTALL))]
    for line, passage in passages:
        for match in PATTERN.finditer(passage):
            number = line + passage.count("\n", 0, match.start())
            instead = INSTEAD[int((match.lastgroup or "w0")[1:])]
            yield f"{path}:{number}: {match[0]!r}; write {instead}"


def check_page(path: Path, text: str) -> Iterator[str]:
    """Find what a page of documentation has too much or too little of."""
    words = [word.lower() for word in re.findall(r"[A-Za-z']+", CODE.sub(" ", text))]
    if len(words) < FEWEST_WORDS or path.name == "CHANGELOG.md":
        return
    per_1000 = 1000 * sum(word in RELATIVE for word in words) / len(words)
    if per_1000 > MOST_RELATIVE_PER_1000:
        yield f"{path}: {per_1000:.1f} relative words per 1,000 (at most {MOST_RELATIVE_PER_1000})"
    you = 1000 * sum(word in {"you", "your", "yours"} for word in words) / len(words)
    if "how-to" in path.parts and you < LEAST_YOU_PER_1000:
        yield f"{path}: {you:.1f} times 'you' per 1,000 (at least {LEAST_YOU_PER_1000})"


def read_strings(text: str) -> Iterator[tuple[int, str]]:
    """Read the docstrings and messages of a module, each with its first line."""
    tree = ast.parse(text)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            value = re.sub(r"``[^`]*``|`[^`]*`", blank, node.value)
            is_message = id(node) in parts or len(value.split()) >= FEWEST_WORDS_OF_A_MESSAGE
            if is_message:
                yield node.lineno, value


def blank(match: re.Match[str]) -> str:
    """Return as many lines as the match has, without its words."""
    return " " + "\n" * match[0].count("\n")


if __name__ == "__main__":
    sys.exit(main())
