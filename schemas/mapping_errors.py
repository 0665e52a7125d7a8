"""Checks of single values of a mapping file, and its error messages: one line for each finding, with the file's key."""

import codecs
import difflib
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from schemas.conditions import ConditionError, parse_condition
from schemas.uri import is_web


def check_exactly_one(model: BaseModel, *names: str) -> None:
    """Raise ValueError unless exactly one of the fields is set."""
    present = [name for name in names if getattr(model, name) is not None]
    if len(present) != 1:
        wanted = " or ".join(names)
        raise ValueError(f"give exactly one of {wanted}" + (f", not {' and '.join(present)}" if present else ""))


def check_pair(pair: list[str]) -> list[str]:
    """Return a pair of columns unchanged; raise ValueError unless it has two elements."""
    if len(pair) != 2:
        raise ValueError(
            'each pair is [column of the name, column of the value], such as ["Option1 Name", "Option1 Value"]'
        )
    return pair


def check_root(root: str) -> str:
    """Return a folder or host of images unchanged; raise ValueError for a web address without a host."""
    if is_web(root.lower()) and not urlsplit(root).netloc:
        raise ValueError(f'{root!r} names no host; write, for example, "https://cdn.shop.example/"')
    return root


def check_condition(text: str) -> str:
    """Return a condition unchanged; raise ValueError if it cannot be parsed."""
    try:
        parse_condition(text)
    except ConditionError as error:
        raise ValueError(
            f"{error}. Write, for example: Status == 'active' and `Variant Price` > 0 (names with a space in backticks)"
        ) from error
    return text


def check_encoding(name: str) -> str:
    """Return the standard name of an encoding; raise ValueError for one that Python does not know."""
    try:
        return codecs.lookup(name).name
    except LookupError as error:
        raise ValueError(
            f"{name!r} is no encoding that Python knows; usual ones are cp1252, latin-1 and utf-16"
        ) from error


def explain_findings(error: ValidationError, tables: Mapping[str, type[BaseModel]]) -> list[str]:
    """Return one line for each finding, with the key as the TOML file spells it.

    Args:
        error: what pydantic found.
        tables: pydantic model of each table of the file by its key; the whole file's model has the empty key.
    """
    lines = []
    for finding in error.errors():
        key = ".".join(str(part) for part in finding["loc"] if not str(part).startswith(("list[", "dict["))) or "file"
        message = finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "extra_forbidden":
            message = f"unknown key; {_suggest_key(finding['loc'], tables)}"
        elif finding["type"] == "missing":
            message = f'is required; write {key} = "name of the column"'
        lines.append(f"  {key}: {message}")
    return lines


def _suggest_key(location: tuple[int | str, ...], tables: Mapping[str, type[BaseModel]]) -> str:
    """Return a hint with the known key most similar to an unknown one, or all known keys."""
    table = tables.get(str(location[0])) if len(location) > 1 else None
    known = list((table or tables[""]).model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
