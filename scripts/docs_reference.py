"""Writes the reference pages of the site from the code: commands, settings, tables, fields of a collection."""

import ast
import inspect
import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import pyarrow as pa
import typer
from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from rich.text import Text

import jobs.errors
import schemas.collection
import schemas.tables
from jobs.cli import app
from jobs.settings import REPOSITORY, Settings


def write_commands() -> str:
    """Return the page of all commands: what each does, its arguments and options."""
    group: Any = typer.main.get_command(app)
    codes = _read_attribute_docs(jobs.errors)
    exits = [(getattr(jobs.errors, name), _join_lines(codes[name])) for name in codes if name.startswith("EXIT_")]
    lines = ["# Commands", "", _plain(group.help), "", *_make_table(["exit code", "meaning"], exits)]
    for name in sorted(group.commands):
        command = group.commands[name]
        lines += ["", f"## moon {name}", "", *_format_help(command.help or "")]
        rows = [
            (_format_names(parameter), _plain(getattr(parameter, "help", "") or ""))
            for parameter in command.params
            if parameter.name != "help"
        ]
        lines += ["", *_make_table(["argument or option", "meaning"], rows)] if rows else []
    return "\n".join(lines) + "\n"


def write_settings() -> str:
    """Return the page of all settings with default and meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        rows.append((f"`MOON_{name.upper()}`", _format_default(field.default), _plain(field.description or "")))
    head = (
        "Each is a variable in the environment or in `.env`; an option of a command replaces it for one call. Lists "
        "are written as JSON."
    )
    return "\n".join(["# Settings", "", head, "", *_make_table(["setting", "default", "meaning"], rows)]) + "\n"


def write_tables() -> str:
    """Return the page of the lake's tables: columns, types, partitions, and what each holds."""
    docs = _read_attribute_docs(schemas.tables)
    lines = ["# Tables of the lake", "", f"Schema version {schemas.tables.LAKE_SCHEMA_VERSION}.", ""]
    names = {id(value): name for name, value in vars(schemas.tables).items()}
    for table in schemas.tables.TABLES.values():
        lines += [f"## {table.name}", "", _join_lines(docs.get(names[id(table)], "")), ""]
        lines += [f"Key: `{table.key}`. Partitions: {_list_code(table.partition_by) or 'none'}.", ""]
        lines += [*_make_table(["column", "type"], _list_columns(table.schema)), ""]
    return "\n".join(lines)


def write_collection() -> str:
    """Return the page of a served collection: its fields and properties."""
    docs = _read_attribute_docs(schemas.collection)
    schema = schemas.collection.build_collection_schema(8)
    versions = schemas.collection.FIELD_VERSIONS
    rows = [
        (
            f"`{field.name}`",
            f"`{field.dtype.name}`",
            str(field.params.get("max_length", "")),
            str(versions.get(field.name, 1)),
        )
        for field in schema.fields
    ]
    heads = ["field", "type", "bytes at most", "since schema version"]
    lines = ["# The collection", "", f"Schema version {schemas.collection.COLLECTION_SCHEMA_VERSION}.", ""]
    lines += [*_make_table(heads, rows), "", "## Properties", ""]
    named = [name for name in vars(schemas.collection) if name.startswith("PROPERTY_")]
    properties = [(f"`{getattr(schemas.collection, name)}`", _join_lines(docs.get(name, ""))) for name in named]
    return "\n".join([*lines, *_make_table(["property", "meaning"], properties)]) + "\n"


def _make_table(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return the lines of a Markdown table; a cell is text on one line."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = (re.sub(r"\s+", " ", str(cell)).replace("|", "\\|") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _plain(text: str) -> str:
    """Return a help text without rich's markup, as text of a Markdown page."""
    return _escape(Text.from_markup(text).plain)


def _escape(text: str) -> str:
    return re.sub(r"([<>*\[\]])", r"\\\1", re.sub(r"&", "&amp;", text))


def _format_help(text: str) -> list[str]:
    """Return a command's help: paragraphs as text, examples as code."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        plain = Text.from_markup(paragraph).plain.strip("\b\f\n")
        is_example = all(line.lstrip().startswith("moon ") for line in plain.splitlines())
        lines += ["```sh", plain, "```", ""] if is_example else [_escape(_join_lines(plain)), ""]
    return lines


def _format_names(parameter: Any) -> str:
    """Return the spelling of an argument or option with its placeholder."""
    if parameter.param_type_name == "argument":
        return f"`{(parameter.metavar or parameter.name).upper()}`"
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return f"`{names} {parameter.metavar}`" if parameter.metavar else f"`{names}`"


def _format_default(value: object) -> str:
    if value in (None, "", (), {}) or value is PydanticUndefined:
        return "none"
    if isinstance(value, SecretStr):
        return "none"
    return "`" + str(value).replace(str(REPOSITORY), ".") + "`"


def _list_columns(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(f"`{field.name}`", f"`{field.type}`") for field in schema]


def _list_code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _join_lines(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("``", "`").strip()


def _read_attribute_docs(module: ModuleType) -> dict[str, str]:
    """Return the text that follows each assignment of a module; a text stands for all assignments right before it."""
    docs: dict[str, str] = {}
    waiting: list[str] = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            waiting += [target.id for target in targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docs |= dict.fromkeys(waiting, node.value.value)
            waiting = []
        else:
            waiting = []
    return docs
