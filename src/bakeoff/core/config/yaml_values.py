"""YAML within limits: no text, however short, makes reading slow or a message long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

MAX_CHARS = 1 << 20
MAX_DEPTH = 50
MAX_VALUES = 50_000  # an alias counts as often as it is used, with all that it stands for
MAX_PLAIN_CHARS = 10_000  # without quotes, it is tried as a number and as a date


def compose(text: str, max_chars: int = MAX_CHARS) -> tuple[yaml.SafeLoader, yaml.Node] | None:
    """Parse one document; None if it is empty. The loader makes the values of the node.

    Raises:
        yaml.YAMLError: It is not YAML, or exceeds a limit.
    """
    if len(text) > max_chars:
        raise yaml.YAMLError(f"{len(text):,} characters; at most {max_chars:,} are allowed")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    finally:
        loader.dispose()
    if node is None:
        return None
    _count_values(node)
    return loader, node


def read_value(text: str, max_chars: int = MAX_CHARS) -> Any:
    """Read one document as its value.

    Raises:
        yaml.YAMLError: It is not YAML, or exceeds a limit.
    """
    found = compose(text, max_chars)
    return None if found is None else construct(*found)


def construct(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    """Make the value of a node.

    Raises:
        yaml.YAMLError: A value has no form in Python.
    """
    try:
        return loader.construct_document(node)
    except (ValueError, OverflowError, TypeError) as error:  # a date or number that does not exist
        raise yaml.YAMLError(shorten(str(error))) from None


def shorten(text: str, most: int = 80) -> str:
    """Shorten a text for a message."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


class _Loader(yaml.SafeLoader):
    """Safe loader that stops at a limit while it reads."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._n_values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, if it is within the limits."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._n_values += 1
        with self._deeper():
            if self._depth > MAX_DEPTH:
                raise _exceeds(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
            if self._n_values > MAX_VALUES:
                raise _exceeds(f"more than {MAX_VALUES:,} values", event.start_mark)
            if isinstance(event, yaml.ScalarEvent) and not event.style and len(event.value) > MAX_PLAIN_CHARS:
                found = f"a value of {len(event.value):,} characters"
                raise _exceeds(f"{found}; shorten it, or write it in quotes", event.start_mark)
            if isinstance(event, yaml.ScalarEvent):
                event.value = _join_pairs(event)
            return super().compose_node(parent, index)

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1


def _count_values(root: yaml.Node) -> None:
    """Refuse a document whose aliases, written out, exceed the limits. Each node is looked at once."""
    sizes: dict[int, tuple[int, int]] = {}

    def measure(node: yaml.Node, above: frozenset[int]) -> tuple[int, int]:
        """Return the number of values in a node, and their depth."""
        if id(node) in above:
            raise _exceeds("an alias to a value that holds it", node.start_mark)
        if id(node) not in sizes:
            inner = above | {id(node)}
            held = [measure(each, inner) for each in _children(node)]
            n_values, depth = 1 + sum(n for n, _ in held), 1 + max((deep for _, deep in held), default=0)
            if n_values > MAX_VALUES:
                raise _exceeds(f"aliases that stand for more than {MAX_VALUES:,} values", node.start_mark)
            if depth > MAX_DEPTH:
                raise _exceeds(f"aliases nested deeper than {MAX_DEPTH} levels", node.start_mark)
            sizes[id(node)] = n_values, depth
        return sizes[id(node)]

    measure(root, frozenset())


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _join_pairs(event: yaml.ScalarEvent) -> str:
    """Return a text with each pair of surrogates as the character that JSON means by it."""
    text = str(event.value)
    if text.isascii():
        return text
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise _exceeds("half of a surrogate pair; correct its \\u escape", event.start_mark) from None


def _exceeds(found: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=found, problem_mark=mark)
