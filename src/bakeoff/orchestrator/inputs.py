"""Inputs: which of the project's documents a scenario is fed."""

from __future__ import annotations

import random

from bakeoff.measure.entities import Document
from bakeoff.measure.scenarios import Scenario
from bakeoff.orchestrator.project import Project


def documents_for(project: Project, scenario: Scenario) -> tuple[Document, ...]:
    """All test documents for quality; a seeded sample of them, with their real lengths, for timing."""
    documents = project.corpus.test
    settings = project.settings.benchmark
    if not scenario.is_timed or settings.n_texts >= len(documents):
        return documents
    return tuple(random.Random(settings.protocol.seed).sample(documents, k=settings.n_texts))  # noqa: S311
