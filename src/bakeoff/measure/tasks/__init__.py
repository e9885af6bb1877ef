"""Tasks: what the models of a contest do, one file each; the file's name is the YAML ``kind``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bakeoff.measure.tasks.custom import Custom
from bakeoff.measure.tasks.documents import Document
from bakeoff.measure.tasks.tensors import Tensors
from bakeoff.measure.tasks.text_classification import TextClassification
from bakeoff.measure.tasks.text_regression import TextRegression
from bakeoff.measure.tasks.token_classification import TokenClassification

Task = Annotated[
    TokenClassification | TextClassification | TextRegression | Custom | Tensors,
    Field(discriminator="kind"),
]

__all__ = [
    "Custom",
    "Document",
    "Task",
    "Tensors",
    "TextClassification",
    "TextRegression",
    "TokenClassification",
]
