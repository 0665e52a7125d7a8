"""What is wrong with a mapping file in words: one line for each finding, with the key as the file spells it."""

import difflib
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError


def check_exactly_one(model: BaseModel, *names: str) -> None:
    """Raise ValueError unless exactly one of the fields is set."""
    present = [name for name in names if getattr(model, name) is not None]
    if len(present) != 1:
        wanted = " or ".join(names)
        raise ValueError(f"give exactly one of {wanted}" + (f", not {' and '.join(present)}" if present else ""))


def explain_findings(error: ValidationError, tables: Mapping[str, type[BaseModel]]) -> list[str]:
    """Return one line for each finding, with the key as the TOML file spells it.

    Args:
        error: what pydantic found.
        tables: model of each table of the file by its key; the model of the whole file under the empty key.
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
