"""Texts as the sample on which outputs of runtimes are compared."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.measure.backends.parity import CHECK_MAX_LENGTH, Sample
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.tokenizer import Encoder
from bakeoff.measure.tasks import TokenClassification


def sample_of(checkpoint: Checkpoint, texts: Sequence[Sequence[str]]) -> Sample:
    """Encode texts that are split into words."""
    encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
    return Sample(TokenClassification(), tuple(encoder.encode(words) for words in texts))
