"""What a scenario measures: a loaded model, and the documents that it is asked about."""

from __future__ import annotations

from dataclasses import dataclass

from bakeoff.measure.checkpoint import Checkpoint
from bakeoff.measure.encoding import Encoder, Encoding
from bakeoff.measure.entities import Document
from bakeoff.measure.protocol import TimingProtocol
from bakeoff.measure.session import Session


@dataclass(frozen=True)
class Subject:
    """All that one process of one job works on.

    Attributes:
        session: The loaded model.
        checkpoint: Where it came from; names the labels.
        encoder: Its tokenizer.
        documents: What is asked, in a fixed order.
        encodings: The same documents as token ids.
        protocol: How to time; None for scenarios that are not timed.
        generation: Number of this process among those of the job, from 0.
    """

    session: Session
    checkpoint: Checkpoint
    encoder: Encoder
    documents: tuple[Document, ...]
    encodings: tuple[Encoding, ...]
    protocol: TimingProtocol | None
    generation: int
