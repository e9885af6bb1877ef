"""Page of the table of architectures, from the outcomes that write_architectures.py keeps."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

HEADS = {"token_classification": "token", "sequence_classification": "sequence"}
BACKENDS = ("torch", "onnxruntime", "openvino")
MARKS = {"right": "✓", "refused": "refused", "wrong": "WRONG", "not tried": "not tried"}
MOST_REASON = 220  # characters of a reason; the rest of a runtime's message is about nodes and files
# Model types that read more than text, and run without it too. Only text was tried.
MORE_INPUTS = frozenset(
    {
        "gemma3", "layoutlm", "layoutlmv3", "lilt", "luke", "markuplm", "modernvbert", "qwen3_5", "qwen3_asr",
        "t5gemma2", "tapas", "ultravbert",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Outcome of one architecture in one backend.

    Attributes:
        verdict: ``right``, ``refused``, ``wrong`` or ``not tried``.
        reason: One line; empty if it is right.
    """

    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class Kept:
    """Outcomes of all architectures.

    Attributes:
        versions: Versions of the libraries.
        cpu_minutes: CPU time of the run.
        slow_tokenizers: Model types for which transformers has no fast tokenizer.
        outcomes: Outcome by head, model type and backend.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    cpu_minutes: float = 0.0
    slow_tokenizers: tuple[str, ...] = ()
    outcomes: Mapping[str, Mapping[str, Mapping[str, Outcome]]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Write it as JSON, with sorted keys."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Kept:
        """Read what ``to_json`` wrote."""
        values = json.loads(text)
        outcomes = {
            head: {
                name: {backend: Outcome(**outcome) for backend, outcome in row.items()}
                for name, row in rows.items()
            }
            for head, rows in sorted(values["outcomes"].items(), key=lambda item: [*HEADS].index(item[0]))
        }
        return cls(values["versions"], values["cpu_minutes"], tuple(values["slow_tokenizers"]), outcomes)


def write_page(kept: Kept) -> str:
    """Write the page: counts, the table, and the reasons by number."""
    backends = list(
        dict.fromkeys(name for rows in kept.outcomes.values() for row in rows.values() for name in row)
    )
    backends.sort(key=("torch", "onnxruntime", "openvino").index)
    reasons: dict[str, int] = {}
    rows = write_rows(kept, backends, reasons)
    versions = ", ".join(f"{name} {number}" for name, number in sorted(kept.versions.items()))
    page = [
        "# Architectures",
        "",
        "Written by `python tools/write_architectures.py`; do not edit.",
        "",
        "Look up the `model_type` of your `config.json`. The table has every class of transformers with a",
        "head for token or sequence classification.",
        "",
        f"Versions: {versions}. The run took {kept.cpu_minutes:g} CPU minutes.",
        "",
        "The script makes a tiny model of each class with random weights. It takes the model through each",
        "backend in fp32, as `bakeoff bench` does. Then it compares the logits of documents with those of",
        "plain transformers for each document alone. The documents run alone and in padded batches.",
        "",
        "- **✓** All logits are equal within 1e-4.",
        "- **refused** `bakeoff bench` prints the reason and times nothing. See the reason by its number.",
        "- **not tried** No tiny model could be made, or it needs more than text.",
        "- **–** transformers has no such class.",
        "",
        "A tiny model shows that the code of a class works. A large one can still need more memory than you",
        "have, most of all a mixture of experts in ONNX. bakeoff compares your own model in the same way",
        "before it times it.",
        "",
        "## Counts",
        "",
        *write_counts(kept, backends),
        "",
        "## Table",
        "",
        *rows,
        "",
        "† transformers has no fast tokenizer for it. Save one next to the weights as `tokenizer.json`.  ",
        "‡ It also reads boxes, images, sound, entities or tables. Only text was tried.",
        "",
        "## Reasons",
        "",
        *(f"{number}. {reason}" for reason, number in reasons.items()),
    ]
    return "\n".join(page).rstrip() + "\n"


def write_counts(kept: Kept, backends: list[str]) -> list[str]:
    """Write the number of each verdict, by head and backend."""
    verdicts = ["right", "refused", "not tried"]
    verdicts += ["wrong"] if any_wrong(kept) else []
    rows = [f"| head | backend | {' | '.join(verdicts)} | all |", "|---|---|" + "---|" * (len(verdicts) + 1)]
    for head, table in kept.outcomes.items():
        for backend in backends:
            counts = Counter(row[backend].verdict for row in table.values())
            figures = [*(counts[verdict] for verdict in verdicts), len(table)]
            rows.append(f"| {HEADS[head]} classification | {backend} | {' | '.join(map(str, figures))} |")
    return rows


def any_wrong(kept: Kept) -> bool:
    """Return whether an architecture gave wrong logits without being refused."""
    return any(
        outcome.verdict == "wrong"
        for table in kept.outcomes.values()
        for row in table.values()
        for outcome in row.values()
    )


def write_rows(kept: Kept, backends: list[str], reasons: dict[str, int]) -> list[str]:
    """Write one row for each model type, and number the reasons in the order of the table."""
    columns = [(head, backend) for head in kept.outcomes for backend in backends]
    rows = [
        f"| model type | {' | '.join(f'{HEADS[head]}: {backend}' for head, backend in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name in sorted({name for table in kept.outcomes.values() for name in table}):
        cells = []
        for head, backend in columns:
            outcome = kept.outcomes[head].get(name, {}).get(backend)
            cells.append("–" if outcome is None else write_cell(outcome, reasons))
        marks = ("†" if name in kept.slow_tokenizers else "") + ("‡" if name in MORE_INPUTS else "")
        rows.append(f"| `{name}`{f' {marks}' if marks else ''} | {' | '.join(cells)} |")
    return rows


def write_cell(outcome: Outcome, reasons: dict[str, int]) -> str:
    """Write the verdict with the number of its reason."""
    if not outcome.reason:
        return MARKS[outcome.verdict]
    number = reasons.setdefault(shorten(outcome.reason), len(reasons) + 1)
    return f"{MARKS[outcome.verdict]} ({number})"


def shorten(reason: str) -> str:
    """Return a reason that is the same for the same cause, without what only this model has."""
    cause = re.sub(r"[; ]+use another precision or runtime, or report the architecture$", "", reason)
    cause = re.sub(r"(differ) by [\d.e+-]+|(PyTorch's) by [\d.e+-]+", r"\1\2", cause)
    cause = re.sub(r"Name:'\S*'\s*|Operation name: \S+|Node \(\S+\) |/onnxruntime_src/\S+\s*", "", cause)
    cause = cause if len(cause) <= MOST_REASON else cause[: MOST_REASON - 1].rstrip() + "…"
    return cause.replace("|", "\\|").replace("<", "&lt;")
