"""Write the parts of the reference that the code itself knows: settings, JSON Schemas, commands, flags.

``python tools/write_reference.py`` writes them; with ``--check`` it writes nothing and leaves with 1 where a
file is not what it would write.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import BaseModel, TypeAdapter

from bakeoff.cli.main import cli
from bakeoff.cli.options import JsonOption
from bakeoff.cli.output import PrintedDocument
from bakeoff.core.config.settings import Settings
from bakeoff.core.validity.flags import FLAGS, Topic
from bakeoff.measure.heats.protocol import PRESETS, TimingProtocol

ROOT = Path(__file__).parents[1]
LOOK: dict[str, Any] = {"terminal_width": 100, "max_content_width": 100}
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
BOUNDS = {
    "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
    "minLength": "{} character at least", "maxLength": "{} characters at most",
    "minItems": "{} entry at least", "minProperties": "{} entry at least", "pattern": "`{}`",
}  # fmt: skip
TYPES = {"integer": "whole number", "string": "text", "boolean": "true or false"}
Schema = dict[str, Any]


def make_documents() -> dict[Path, str]:
    """Make every generated file with its text."""
    schemas = {stage: make_schema(stage) for stage in Settings.model_fields}
    documents = {
        ROOT / f"src/bakeoff/schemas/{stage}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for stage, schema in schemas.items()
    }
    printed = list_documents()
    for document in printed.values():
        path = ROOT / f"src/bakeoff/schemas/output/{name_file(document)}"
        documents[path] = json.dumps(make_output_schema(document), indent=2, ensure_ascii=False) + "\n"
    documents[ROOT / "docs/reference/json.md"] = write_json(printed)
    documents[ROOT / "docs/reference/configuration.md"] = write_configuration(schemas)
    documents[ROOT / "docs/reference/commands.md"] = write_commands()
    documents[ROOT / "docs/reference/flags.md"] = write_flags()
    return documents


def make_schema(stage: str) -> Schema:
    """Make the JSON Schema of one stage's file, with the docstrings of its records."""
    model: Any = Settings.model_fields[stage].annotation
    schema = TypeAdapter(model).json_schema()
    if "properties" not in schema:  # a mapping of names that you choose
        schema["description"] = read_docstring(Settings)[1][stage]
    describe_all(schema, model)
    return {"$schema": SCHEMA_DIALECT, **schema, "title": f"{stage}.yaml of bakeoff"}


def make_output_schema(document: type[PrintedDocument]) -> Schema:
    """Make the JSON Schema of a document that a command prints, with the docstrings of its records."""
    schema = document.model_json_schema(mode="serialization")
    describe_all(schema, document)
    return {"$schema": SCHEMA_DIALECT, **schema, "title": f"{name_file(document)}: output of bakeoff"}


def list_documents() -> dict[str, type[PrintedDocument]]:
    """List the document of each command that has the option ``--json``."""
    context = click.Context(cli)
    return {
        name: option.document
        for name in cli.list_commands(context)
        for option in get_command(context, name).params
        if isinstance(option, JsonOption)
    }


def get_command(context: click.Context, name: str) -> click.Command:
    """Get a command that exists."""
    command = cli.get_command(context, name)
    if command is None:
        raise LookupError(name)
    return command


def name_file(document: type[PrintedDocument]) -> str:
    """Name the schema of a document after the command that it names."""
    return f"{document.model_fields['command'].default}.json"


def describe_all(schema: Schema, model: Any) -> None:
    """Describe a record and all records inside it."""
    models = {each.__name__: each for each in walk_models(model)}
    for name, inner in [(getattr(model, "__name__", ""), schema), *schema.get("$defs", {}).items()]:
        if name in models:
            describe(inner, models[name])


def walk_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield a record and all records inside it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from walk_models(field.annotation)
    for inner in get_args(annotation):
        yield from walk_models(inner)


def describe(schema: Schema, model: type[BaseModel]) -> None:
    """Put the words of a record's docstring where editors and readers look for them."""
    summary, attributes = read_docstring(model)
    schema["description"] = summary
    for name, field in schema.get("properties", {}).items():
        field.pop("title", None)
        if name in attributes:
            field["description"] = attributes[name]


def read_docstring(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """Read a Google docstring: the text before ``Attributes:``, and the text of each attribute."""
    text = inspect.cleandoc(model.__doc__ or "").replace("``", "`")
    head, _, tail = text.partition("Attributes:\n")
    attributes = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", tail, re.MULTILINE)
    return join_lines(head), {name: join_lines(words) for name, words in attributes}


def join_lines(text: str) -> str:
    """One line of what was wrapped."""
    return " ".join(text.split())


def write_configuration(schemas: Mapping[str, Schema]) -> str:
    """Write the page of all settings; a record of several stages is described once."""
    page = [
        "# Configuration",
        "",
        "Written by `python tools/write_reference.py` from the records that read the files; do not edit.",
        "",
        "A folder `config/` holds one YAML file a stage, or one file holds all stages as its top-level keys.",
        "A missing key has its default. An unknown key is an error that names the nearest one. On the",
        "command line `--set` sets one setting: `--set benchmark.scenarios.1.batch_sizes=[1,8]`.",
        "",
        "For editors the package holds a JSON Schema of each file. The YAML language server reads it where a",
        "file begins with `# yaml-language-server: $schema=FOLDER/benchmark.json`; FOLDER is what",
        "`python -c \"import importlib.resources as r; print(r.files('bakeoff') / 'schemas')\"` prints.",
        "",
    ]
    told: set[str] = set()
    for stage, schema in schemas.items():
        defs = schema.get("$defs", {})
        page += [f"## {stage}.yaml", "", schema["description"], ""]
        page += write_table(schema, defs) if "properties" in schema else write_mapping(schema, defs)
        for name, inner in defs.items():
            if "properties" in inner and name not in told:
                page += [f"### {name}", "", inner["description"], "", *write_table(inner, defs)]
            if name == TimingProtocol.__name__:
                page += write_presets()
            told.add(name)
    return "\n".join(page).rstrip() + "\n"


def write_presets() -> list[str]:
    """Write the table of presets of the protocol."""
    rows = ["| preset | stands for |", "|---|---|"]
    for name, values in PRESETS.items():
        rows.append(f"| `{name}` | {f'`{json.dumps(values)}`' if values else 'the defaults above'} |")
    return [*rows, ""]


def write_table(schema: Schema, defs: Mapping[str, Schema]) -> list[str]:
    """One row a setting."""
    rows = ["| key | type | default | bounds | meaning |", "|---|---|---|---|---|"]
    for name, field in schema["properties"].items():
        meaning = "Names the kind." if name == "kind" else field.get("description", "")
        default = name_default(field, is_required=name in schema.get("required", ()))
        cells = (f"`{name}`", name_type(field, defs), default, name_bounds(field), meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*rows, ""]


def write_mapping(schema: Schema, defs: Mapping[str, Schema]) -> list[str]:
    """Write the type of a stage whose keys are names that you choose."""
    text = name_type(schema, defs)
    return [f"{text[0].upper()}{text[1:]}.", ""]


def name_default(field: Schema, *, is_required: bool) -> str:
    """Write the default of a setting; a record inside it has its own table."""
    if is_required and "const" not in field:
        return "required"
    default = field.get("default", field.get("const"))
    if isinstance(default, dict) and default:
        return "as there"
    if isinstance(default, list) and default and isinstance(default[0], dict):
        return ", ".join(f"`{each['kind']}`" for each in default)
    return f"`{json.dumps(default)}`" if "default" in field or "const" in field else ""


def name_type(field: Schema, defs: Mapping[str, Schema]) -> str:
    """Write the type of a setting in words."""
    name, kind = str(field.get("$ref", "")).rsplit("/", 1)[-1], str(field.get("type"))
    if options := field.get("anyOf") or field.get("oneOf"):
        text = " or ".join(dict.fromkeys(name_type(each, defs) for each in options))
    elif name:
        text = f"[{name}](#{name.lower()})" if "properties" in defs[name] else name_type(defs[name], defs)
    elif choices := field.get("enum") or [field[word] for word in ("const",) if word in field]:
        text = " or ".join(f"`{each}`" for each in choices)
    elif kind == "array":
        text = f"list of {name_type(field['items'], defs)}"
    elif kind == "object":
        (values,) = field.get("patternProperties", {"": field.get("additionalProperties")}).values()
        text = f"mapping of names to {name_type(values, defs)}"
    else:
        text = TYPES.get(kind, kind)
    return text


def name_bounds(field: Schema) -> str:
    """Write the bounds of a setting, of the kinds of a union and of the entries of a list."""
    inner = [field, *field.get("anyOf", ()), *([field["items"]] if "items" in field else [])]
    found = [text.format(each[word]) for each in inner for word, text in BOUNDS.items() if word in each]
    return ", ".join(dict.fromkeys(found))


def write_commands() -> str:
    """Write the page of all commands, from their own help."""
    page = [
        "# Commands",
        "",
        "Written by `python tools/write_reference.py` from the help of the commands; do not edit.",
        "",
        "Results are on stdout, progress on stderr. What the exit codes mean: [exit codes](exit-codes.md).",
        "",
    ]
    context = click.Context(cli, info_name="bakeoff", **LOOK, **cli.context_settings)
    page += ["```", cli.get_help(context), "```", ""]
    for name in cli.list_commands(context):
        command = get_command(context, name)
        inner = click.Context(command, parent=context, info_name=name, **LOOK)
        page += [f"## {name}", "", "```", command.get_help(inner), "```", ""]
    return "\n".join(page).rstrip() + "\n"


def write_json(documents: Mapping[str, type[PrintedDocument]]) -> str:
    """Write the page of all JSON documents."""
    page = [
        "# JSON output",
        "",
        "Written by `python tools/write_reference.py` from the records that the commands print; do not edit.",
        "",
        "With `--json` a command prints one document on stdout, and everything else on stderr. It has",
        "`format_version`, `command` and `result`. `format_version` grows if a field goes or changes its",
        "meaning. A command that ends with an error prints the error on stderr, and no document.",
        "",
        "The package holds a JSON Schema of each document, of your version. This prints the folder:",
        "`python -c \"import importlib.resources as r; print(r.files('bakeoff') / 'schemas' / 'output')\"`.",
        "",
        "| command | schema | document |",
        "|---|---|---|",
    ]
    for name, document in documents.items():
        file = name_file(document)
        link = f"[{file}](../../src/bakeoff/schemas/output/{file})"
        page.append(f"| `bakeoff {name} --json` | {link} | {read_docstring(document)[0]} |")
    return "\n".join(page) + "\n"


def write_flags() -> str:
    """Write the page of all flags, from the table that the code asks."""
    page = [
        "# Flags",
        "",
        "Written by `python tools/write_reference.py` from `core/validity/flags.py`; do not edit.",
        "",
        "A flag is something that you must know to read a measurement. `bakeoff bench` and the report show",
        "each with figure and limit. The tag `bakeoff.validity` and the note of a run keep them. Some flags",
        "invalidate a measurement: bakeoff stores it as an attempt that does not count as done, and the",
        "next `bench` tries again, up to `benchmark.max_attempts`. See also",
        "[measure on a busy machine](../how-to/measure-on-a-busy-machine.md).",
        "",
    ]
    sections = {"Flags that invalidate": [kind for kind in FLAGS.values() if kind.invalidates]} | {
        f"Flags about the {topic}": [
            kind for kind in FLAGS.values() if kind.topic == topic and not kind.invalidates
        ]
        for topic in get_args(Topic)
    }
    for title, kinds in sections.items():
        page += [
            f"## {title}",
            "",
            "| flag | raised when | what it means | what you can do |",
            "|---|---|---|---|",
        ]
        page += [f"| `{kind.name}` | {kind.raised_when} | {kind.meaning} | {kind.fix} |" for kind in kinds]
        page.append("")
    return "\n".join(page).rstrip() + "\n"


def main(words: list[str]) -> int:
    """Write, or check."""
    stale = {
        path: text
        for path, text in make_documents().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    is_check = "--check" in words
    for path, text in stale.items():
        sys.stdout.write(f"{'stale' if is_check else 'written'}: {path.relative_to(ROOT)}\n")
        if not is_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
