"""The only place where text becomes settings.

Each stage has one section, and each section one YAML file in ``config/``; or one file holds them all. One
reading reports every fault, with file, line and column.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, JsonValue, ValidationError

from bakeoff.core.config.settings import NOTHING_TO_MEASURE, Settings
from bakeoff.core.config.yaml_values import MAX_DEPTH, compose, construct, read_value, shorten
from bakeoff.errors import ConfigError
from bakeoff.record import Record
from bakeoff.uris import mask_password

STAGES = tuple(Settings.model_fields)
_MOST_OF_OVERRIDE = 200


Places = dict[tuple[str | int, ...], str]
_Document = TypeVar("_Document", bound=Record)


def parse_settings(sections: Mapping[str, tuple[str, str]], overrides: Sequence[str] = ()) -> Settings:
    """Read the settings of all stages.

    Args:
        sections: File name and YAML text of each stage; or under the one name ``""`` a file that has the
            stages as its top-level keys.
        overrides: ``stage.key.0.key=value``, with the value in YAML.

    Raises:
        ConfigError: Lists every fault found.
    """
    values: dict[str, Any] = {}
    places: Places = {}
    faults: list[str] = []
    for stage, (file, text) in sections.items():
        path = (stage,) if stage else ()
        try:
            value = _read_yaml(file, text, path, places)
        except yaml.YAMLError as error:
            faults.append(_explain_yaml(file, error))
            continue
        if value is None:
            continue
        if stage:
            values[stage] = value
        elif isinstance(value, dict):
            # An empty section means its defaults, as an empty file of its own does.
            values.update({name: section for name, section in value.items() if section is not None})
        else:
            faults.append(f"{file}:1:1: found {_show(value)}; expected a mapping with {', '.join(STAGES)}")
    for override in overrides:
        _override(values, override, faults, places)
    if faults:
        raise ConfigError(faults)
    return _validate(Settings, values, places, sorted({file for file, _ in sections.values()}))


def parse_document(model: type[_Document], file: str, text: str) -> _Document:
    """Read one YAML file that is a record of its own.

    Args:
        model: Class of the record.
        file: File name for the messages.
        text: YAML text.

    Raises:
        ConfigError: Lists every fault found.
    """
    places: Places = {}
    try:
        value = _read_yaml(file, text, (), places)
    except yaml.YAMLError as error:
        raise ConfigError([_explain_yaml(file, error)]) from None
    if not isinstance(value, dict):
        raise ConfigError([f"{file}:1:1: found {_show(value)}; expected a mapping"])
    return _validate(model, value, places, [file])


class _Flag(str):
    """``true`` or ``false`` as a text, which pydantic reads as a flag and never as a number."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__str__(self)


def _flag_numbers(value: Any) -> Any:
    """Replace every flag in a value by its text."""
    match value:
        case bool():
            return _Flag(str(value).lower())
        case dict():
            return {name: _flag_numbers(each) for name, each in value.items()}
        case list():
            return [_flag_numbers(each) for each in value]
    return value


def _validate(
    model: type[_Document], values: Mapping[str, Any], places: Places, files: Sequence[str]
) -> _Document:
    # Python counts true as 1: such a value fits as what it is, and does not fit as a text.
    found = [fault for fault in _try(model, _flag_numbers(values))[1] if isinstance(fault["input"], _Flag)]
    known = {fault["loc"] for fault in found}
    read, faults = _try(model, values)
    found += [fault for fault in faults if fault["loc"] not in known]
    if read is not None and not found:
        return read
    # pydantic reports a list with a wrong entry a second time, as a list that is too short.
    distinct = [
        fault
        for fault in found
        if not any(other["loc"][: len(fault["loc"])] == fault["loc"] for other in found if other is not fault)
    ]
    lines = (_explain(model, fault, places, files) for fault in distinct or found)
    raise ConfigError(tuple(dict.fromkeys(lines)))


def _try(model: type[_Document], values: Mapping[str, Any]) -> tuple[_Document | None, list[Any]]:
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        return None, list(error.errors())


def _explain_yaml(file: str, error: yaml.YAMLError) -> str:
    mark = (error.problem_mark or error.context_mark) if isinstance(error, yaml.MarkedYAMLError) else None
    at = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
    return f"{at}: invalid YAML: {_describe(error)}"


def _describe(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return shorten(error.problem or error.context or "")
    return shorten(str(error).partition("\n")[0])


def _read_yaml(file: str, text: str, path: tuple[str | int, ...], places: Places) -> Any:
    found = compose(text)
    if found is None:
        return None
    _note_places(file, found[1], path, places)
    return construct(*found)


def _note_places(
    file: str,
    node: yaml.Node,
    path: tuple[str | int, ...],
    places: Places,
) -> None:
    places.setdefault(path, _place(file, node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key that is not a text", problem_mark=key.start_mark)
            inner = (*path, key.value)
            if inner in places:
                raise yaml.MarkedYAMLError(
                    problem=f"duplicate key {key.value!r}", problem_mark=key.start_mark
                )
            places[inner] = _place(file, key)
            _note_places(file, value, inner, places)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _note_places(file, value, (*path, number), places)


def _place(file: str, node: yaml.Node) -> str:
    return f"{file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _override(values: dict[str, Any], override: str, faults: list[str], places: Places) -> None:
    dotted, equals, text = override.partition("=")
    steps = [int(step) if step.isdecimal() else step for step in dotted.split(".")[:MAX_DEPTH]]
    shown = f"--set {shorten(mask_password(override), _MOST_OF_OVERRIDE)}"
    if not equals or not all(step != "" for step in steps):
        faults.append(f"{shown}: expected stage.key=value")
        return
    try:
        target: Any = values
        for step in steps[:-1]:
            if isinstance(target, dict) and target.get(step) is None:
                target[step] = {}
            target = target[step]
        target[steps[-1]] = read_value(text)
        # The override replaces all that the file says below this key: no message may point there.
        for path in [path for path in places if path[: len(steps)] == tuple(steps)]:
            del places[path]
        for end in range(1, len(steps) + 1):
            places.setdefault(tuple(steps[:end]), shown)
    except (LookupError, TypeError, AttributeError):
        faults.append(f"{shown}: found no setting at {shorten(dotted)}; expected stage.key=value")
    except yaml.YAMLError as error:
        faults.append(f"{shown}: invalid YAML in the value: {_describe(error)}")


def _explain(
    model: type[BaseModel], fault: Any, places: Mapping[tuple[str | int, ...], str], files: Sequence[str]
) -> str:
    location: tuple[str | int, ...] = fault["loc"]
    path = _written_path(location, places)
    place = places[path] if path in places else (files[0] if len(files) == 1 else "configuration")
    dotted = shorten(".".join(str(step) for step in path or location))  # a default is written nowhere
    if fault["type"] == "missing":
        return f"{place}: {'.'.join(map(str, _without_tags(location, places)))} is missing; add it"
    if fault["type"] == "extra_forbidden":
        name = str(location[-1])
        names = _names_at(model, location[:-1])
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names)}"
        return f"{place}: {dotted}: unknown key {_show(name)}; {hint}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    tag = str(fault.get("ctx", {}).get("tag", ""))  # pydantic repeats a kind that it does not know
    message = message.replace(tag, shorten(tag)) if tag else message
    if isinstance(fault["input"], _Flag) and fault["type"] in {"int_parsing", "float_parsing"}:
        message = "Input should be a number; true and false are none"
    if fault["type"] == NOTHING_TO_MEASURE:
        return f"{files[0] if len(files) == 1 else place}: {message}"
    return f"{place}: {dotted}: found {_show(fault['input'])}; {message[0].lower()}{message[1:]}"


def _written_path(
    location: Sequence[str | int], places: Mapping[tuple[str | int, ...], str]
) -> tuple[str | int, ...]:
    """Return the steps of pydantic's location that the file has: tags of unions are not among them."""
    path: tuple[str | int, ...] = ()
    for step in location:
        if (*path, step) in places:
            path = (*path, step)
    return path


def _without_tags(
    location: Sequence[str | int], places: Mapping[tuple[str | int, ...], str]
) -> tuple[str | int, ...]:
    return (*_written_path(location[:-1], places), location[-1])


def _names_at(model: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    """Return the field names that are valid below a location of a tree of records."""
    here: list[type[BaseModel]] = [model]
    for step in location:
        inner = [
            _models_in(model.model_fields[str(step)].annotation)
            for model in here
            if step in model.model_fields
        ]
        if inner:
            here = [model for models in inner for model in models] or here
        else:  # an index, a free name, or the tag of a union
            tagged = [
                model
                for model in here
                if "kind" in model.model_fields and step in get_args(model.model_fields["kind"].annotation)
            ]
            here = tagged or here
    return sorted({name for model in here for name in (*model.model_fields, *_shorthands(model))})


def _shorthands(model: type[BaseModel]) -> tuple[str, ...]:
    return model.shorthands if issubclass(model, Record) else ()


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _show(value: JsonValue) -> str:
    try:
        return shorten(mask_password(repr(value)))
    except ValueError:  # an integer that Python refuses to write in decimal
        return "a number of too many digits"
