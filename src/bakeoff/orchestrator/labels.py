"""Labels: compare those of champions with those of the test documents, before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from bakeoff.core.records import AnyModel
from bakeoff.errors import UnknownLabelsError, UserError
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.model.session import READS_ROWS
from bakeoff.measure.model.tokenizer import read_tokenizer
from bakeoff.orchestrator.project import Project


def check_labels(project: Project, champions: Iterable[AnyModel]) -> None:
    """Check that the models fit the task, and know the labels that a scenario compares with.

    Of checkpoints that are on this machine, ``config.json`` and the headers of the weights are read.
    ``bench`` checks each other one as soon as it is fetched.

    Raises:
        CheckpointError: A model has another head than the task, or names no labels.
        UnknownLabelsError: A model cannot predict a label of the data; the error names all such models.
    """
    errors = []
    for champion in champions:
        try:
            compare_labels(project, champion)
        except UnknownLabelsError as error:
            errors.append(error)
    if errors:
        raise UnknownLabelsError(
            {model: names for error in errors for model, names in error.unknown.items()},
            {model: names for error in errors for model, names in error.known.items()},
        )


def require_fitting_files(project: Project, model: AnyModel) -> None:
    """Check that the files of a model on this machine fit each other: sizes, weights and tokenizer.

    Raises:
        CheckpointError: They do not.
    """
    folder = project.checkpoints.find_local(model)
    if folder is None or model.loads_as in READS_ROWS:
        return
    checkpoint = open_checkpoint(folder)
    # A machine that only plans, for the nodes of a cluster, may be without the library.
    if not project.settings.data.task.reads_tensors and find_spec("tokenizers") is not None:
        read_tokenizer(checkpoint)


def needs_labels(project: Project) -> bool:
    """Return whether a scenario compares predictions with labels."""
    return any(scenario.needs_labels for scenario in project.settings.benchmark.scenarios)


def compare_labels(project: Project, champion: AnyModel) -> tuple[str, ...] | None:
    """Check one model, and return its labels; None if its checkpoint is not on this machine.

    A model that reads rows names its labels only in its answers, so it has none here.

    Raises:
        CheckpointError: It has another head than the task, or names no labels.
        DataError: It does not read the tensors of the test file.
        UnknownLabelsError: It cannot predict a label of the data.
        UserError: It reads rows, and the documents are tensors.
    """
    folder = project.checkpoints.find_local(champion)
    if folder is None:
        return None
    task = project.settings.data.task
    if champion.loads_as in READS_ROWS:
        if task.reads_tensors:
            found = f"{champion.backbone}: found a model that reads rows, but data.task is {task.kind}"
            raise UserError(f"{found}; name an .onnx file, or correct data.task.kind")
        return ()
    checkpoint = open_checkpoint(folder)
    task.require_head(checkpoint)
    task.require_inputs(checkpoint, project.test_documents)
    if needs_labels(project):
        task.require_labels_known(champion.backbone, checkpoint.labels, project.test_documents)
    return task.name_outputs(checkpoint.labels)
