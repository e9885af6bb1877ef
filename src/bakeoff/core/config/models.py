"""Settings of the models that you name: where each one comes from."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from bakeoff.core.identity import is_run_id
from bakeoff.disk.names import find_path_fault
from bakeoff.measure.model.user_code import FUNCTION
from bakeoff.record import Record

ALLOWED = "a folder, an .onnx file, models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/RUN/PATH"
# A scheme has two letters at least: "C:" is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_LOGGED = re.compile(r"models:/(?P<model_id>m-[0-9a-f]{32})")
_REGISTERED = re.compile(
    r"models:/(?P<name>[^/@:]{1,250})(?:/(?P<version>[1-9]\d{0,9})|@(?P<alias>[\w.-]{1,250}))"
)
_RUN = re.compile(r"runs:/(?P<run_id>[^/]+)/(?P<path>.+)")


class RegisteredModel(NamedTuple):
    """Version in the model registry, by its number or by an alias."""

    name: str
    version: str | None
    alias: str | None


class ModelSource(Record):
    """Source of a model that you name; in YAML a text alone is short for `{source: TEXT}`.

    Attributes:
        source: Folder that `save_pretrained` wrote or that holds an `MLmodel` file, or an `.onnx` file, each
            relative to the project folder; or a URI of MLflow: `models:/NAME/VERSION`, `models:/NAME@ALIAS`,
            `models:/m-ID` or `runs:/RUN/PATH`. Empty if `factory` is set.
        factory: Function that makes the model, `package.module:function`: it takes nothing and returns an
            object with `predict(rows)`. The module is installed, or lies in the folder where you start
            bakeoff.
        files: Files that the factory reads, relative to the project folder; their content is part of the
            model's identity, as the source of its module is.
        tokenizer: Folder with the `tokenizer.json` of an ONNX graph, relative to the project folder. Null
            looks next to the graph, then one folder above.
        labels: Labels of the outputs of an ONNX graph, in their order. Null takes those of the
            `config.json` next to the tokenizer.
        trust_code: Whether bakeoff may run code of the model: of a factory, or of an MLflow model of any
            flavor but `transformers`. Such code can do all that you can do.
    """

    model_config = Record.model_config | {
        "json_schema_extra": {"anyOf": [{"required": ["source"]}, {"required": ["factory"]}]}
    }

    source: Annotated[str, Field(max_length=4096)] = ""
    factory: Annotated[str, Field(pattern=FUNCTION)] | None = None
    files: tuple[str, ...] = ()
    tokenizer: str | None = None
    labels: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None
    trust_code: bool = False

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if bool(self.source) == (self.factory is not None):
            raise ValueError("set exactly one of `source` and `factory`")
        if self.factory is not None and not self.trust_code:
            raise ValueError(
                f"{self.factory} is code that bakeoff would run; set trust_code: true if you trust it"
            )
        return self

    @property
    def shown(self) -> str:
        """Source or factory, as it is written."""
        return self.factory or self.source

    @field_validator("source")
    @classmethod
    def _is_understood(cls, source: str) -> str:
        if any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in source):
            raise ValueError("it holds a control or invisible character; write the name without it")
        scheme = _SCHEME.match(source)
        if scheme is None:
            return source
        if scheme[1] not in ("models", "runs"):
            raise ValueError(
                f"{scheme[1]}: is not a scheme that bakeoff reads; allowed are {ALLOWED}; download the model "
                "and name its folder"
            )
        if scheme[1] == "runs":
            found = _RUN.fullmatch(source)
            if found is None or not is_run_id(found["run_id"]):
                raise ValueError("set runs:/RUN/PATH, with the 32 digits of the run and the artifact's path")
            if fault := find_path_fault(found["path"]):
                raise ValueError(f"{fault}; name an artifact below the run")
        elif not (_LOGGED.fullmatch(source) or _REGISTERED.fullmatch(source)):
            raise ValueError("set models:/NAME/VERSION with a number, models:/NAME@ALIAS or models:/m-ID")
        return source

    @property
    def is_uri(self) -> bool:
        """Whether MLflow keeps it; otherwise it is a path."""
        return _SCHEME.match(self.source) is not None

    @property
    def registered(self) -> RegisteredModel | None:
        """Version in the registry that the source names; None for any other source."""
        found = _REGISTERED.fullmatch(self.source)
        if found is None or _LOGGED.fullmatch(self.source):
            return None
        return RegisteredModel(found["name"], found["version"], found["alias"])


def _read_short_form(value: Any) -> Any:
    if isinstance(value, str) and value:
        return {"source": value}
    if isinstance(value, (dict, ModelSource)):
        return value
    raise ValueError(f"set {ALLOWED}")


# A source as the configuration may write it: a text alone, or a mapping.
NamedSource = Annotated[
    ModelSource, BeforeValidator(_read_short_form, json_schema_input_type=str | ModelSource)
]
