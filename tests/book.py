"""The pages of the book: their blocks, and the commands in them, each with its place."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
PAGES = (
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("examples/*/README.md"),
)
SHELLS = ("", "sh", "bash")
_FENCE = re.compile(r"(?P<indent> *)```(?P<language>\S*)\s*$")
_SPAN = re.compile(r"`([^`]+)`")
_HEADING = re.compile(r"^# (?:\S*/)?(?P<name>[\w-]+\.ya?ml)\b.*$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
# Programs that start the command after their own options.
_STARTERS = frozenset(["srun", "nice", "time"])
_OPERATORS = frozenset("();<>|&")


class Block(NamedTuple):
    """Text between two fences.

    Attributes:
        line: Number of its first line in the page, from 1.
        language: Word behind the first fence; empty without any.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Page and line, for messages."""
        return place(self.page, self.line)


class Command(NamedTuple):
    """A command of bakeoff as a page has it.

    Attributes:
        words: All behind the name of the program.
        is_whole: Whether nothing of it may be missing; a sentence may name a command without its arguments.
    """

    place: str
    words: tuple[str, ...]
    is_whole: bool = True


def place(page: Path, line: int) -> str:
    return f"{page.relative_to(ROOT)}:{line}"


def read_page(name: str) -> Path:
    """Find a page by its path in the repository."""
    (page,) = (page for page in PAGES if page == ROOT / name)
    return page


def list_blocks(page: Path) -> list[Block]:
    """List the blocks of a page; those in a list item without their indent."""
    return list(_split(page)[0])


def list_all_blocks(*languages: str) -> list[Block]:
    """List the blocks of all pages in some languages."""
    return [block for page in PAGES for block in list_blocks(page) if block.language in languages]


def _split(page: Path) -> tuple[list[Block], str]:
    """Split a page into its blocks and its prose, which keeps the numbers of the lines."""
    blocks, prose, inside = [], [], list[str]()
    opened: re.Match[str] | None = None
    first = 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        prose.append("" if fence or opened else line)
        if opened is None:
            opened, first, inside = fence, number + 1, []
        elif fence and fence["language"] == "" and fence["indent"] == opened["indent"]:
            blocks.append(Block(page, first, opened["language"], "".join(f"{each}\n" for each in inside)))
            opened = None
        else:
            inside.append(line.removeprefix(opened["indent"]))
    assert opened is None, f"{place(page, first)}: a block without an end"
    return blocks, "\n".join(prose)


def list_spans(page: Path) -> Iterator[tuple[str, str]]:
    """List the pieces of code in the sentences of a page, each with its place."""
    prose = _split(page)[1]
    for match in _SPAN.finditer(prose):
        yield place(page, 1 + prose.count("\n", 0, match.start())), " ".join(match[1].split())


def list_inputs(block: Block) -> list[tuple[int, str]]:
    """List the lines of a block that a reader types, whole, each with its number in the page.

    If any line has a prompt, all others are output.
    """
    lines = block.text.splitlines()
    has_prompt = any(line.startswith("$ ") for line in lines)
    inputs, goes_on = list[tuple[int, str]](), False
    for number, line in enumerate(lines, block.line):
        if goes_on:
            inputs[-1] = (inputs[-1][0], inputs[-1][1].removesuffix("\\") + line)
        elif not has_prompt or line.startswith("$ "):
            inputs.append((number, line.removeprefix("$ ")))
        else:
            continue
        goes_on = line.endswith("\\")
    return inputs


def edit(file: Path, change: Callable[[str], str]) -> None:
    """Edit a file as a page asks for; there must be something to edit."""
    before = file.read_text(encoding="utf-8")
    after = change(before)
    assert after != before, f"{file} has nothing of what the page changes:\n{before}"
    file.write_text(after, encoding="utf-8")


def list_tutorial_edits() -> dict[str, Callable[[Path], None]]:
    """List what sentences of the tutorial ask for in its folder, before the first command of that name."""
    return {
        "doctor": lambda folder: edit(
            folder / "config/data.yaml", lambda text: text.replace("# test: data/test", "test: data/test")
        ),
        "plan": lambda folder: edit(
            folder / "config/benchmark.yaml", lambda text: re.sub(r".*kind: torch.*\n", "", text)
        ),
    }


def list_scripts(block: Block) -> list[Block]:
    """List the scripts of a block: itself, or the steps of a workflow."""
    if block.language in SHELLS:
        return [block]
    return [block._replace(text=text, language="sh") for text in _find_runs(_load_all(block))]


def _load_all(block: Block) -> list[Any]:
    return list(yaml.safe_load_all(block.text)) if is_workflow(block) else []


def _find_runs(value: Any) -> Iterator[str]:
    match value:
        case {"run": str(text)}:
            yield text
        case dict():
            for each in value.values():
                yield from _find_runs(each)
        case list():
            for each in value:
                yield from _find_runs(each)


def is_workflow(block: Block) -> bool:
    """Return whether a block is a workflow of GitHub."""
    return block.language == "yaml" and block.text.startswith("# .github/workflows/")


def list_commands(page: Path) -> Iterator[Command]:
    """List the commands of bakeoff in a page: in blocks, in workflows and in sentences."""
    for block in list_blocks(page):
        for script in list_scripts(block):
            for number, line in list_inputs(script):
                for words in find_commands(line):
                    yield Command(place(page, number), words)
    for where, text in list_spans(page):
        if text.startswith("bakeoff ") and "…" not in text:
            for words in find_commands(text):
                yield Command(where, words, is_whole=False)


def find_commands(line: str) -> Iterator[tuple[str, ...]]:
    """Find the commands of bakeoff in a line of a shell."""
    if "bakeoff" not in line:
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    simple: list[list[str]] = [[]]
    for token in lexer:
        if set(token) <= _OPERATORS:
            simple.append([])
        else:
            simple[-1].append(token)
    for words in simple:
        start = next((n for n, word in enumerate(words) if not _ASSIGNMENT.match(word)), len(words))
        if words[start : start + 1] and words[start] in _STARTERS and "bakeoff" in words:
            start = words.index("bakeoff")
        if words[start : start + 1] == ["bakeoff"]:
            yield tuple(words[start + 1 :])


def split_files(block: Block) -> list[tuple[str, str]]:
    """Split a block of YAML into files, each with the name in the comment above it; empty without any.

    A name in the middle of a block begins the next file.
    """
    found = list(_HEADING.finditer(block.text))
    # Lines before a file become empty ones, so that messages have the lines of the page.
    before = "\n" * (block.line - 1)
    if not found or block.text[: found[0].start()].strip():
        return [("", before + block.text)]
    ends = [*(match.start() for match in found[1:]), len(block.text)]
    return [
        (
            match["name"],
            before + "\n" * block.text.count("\n", 0, start := match.start()) + block.text[start:end],
        )
        for match, end in zip(found, ends, strict=True)
    ]


def write_files(page: Path, folder: Path, *names: str) -> None:
    """Write the blocks of a page that begin with the name of a file into a folder."""
    for name in names:
        (text,) = (block.text for block in list_blocks(page) if block.text.startswith(f"# {name}\n"))
        folder.joinpath(name).write_text(text, encoding="utf-8")
