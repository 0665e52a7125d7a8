"""Conversion of source values of any type to text, lists and attributes.

No function raises on bad data: what cannot be parsed becomes text or an error message, so that no row is lost.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal

AttributesFormat = Literal["auto", "json", "map", "pairs"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINK_KEYS = ("url", "uri", "path", "src")
_NAME_KEYS = ("name", "title", "label", "path", "value")


def as_text(value: Any) -> str | None:
    """Return the value as text: numbers and structures as JSON, null and NaN as None.

    Lone surrogates, which UTF-8 cannot encode, become U+FFFD; the row rules refuse it.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool | int | float):
        text = json.dumps(value)
    elif isinstance(value, Mapping | list | tuple):
        text = as_json_line(value)
    else:
        text = _format_scalar(value)
    return _SURROGATE.sub("\ufffd", text)


def _format_scalar(value: Any) -> str:
    """Return the text of a value that JSON cannot represent."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return _format_repr(value)


def as_json_line(value: Any) -> str:
    """Return the value as one line of JSON, or its repr where JSON cannot represent it."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_format_scalar)
    except (TypeError, ValueError, RecursionError):  # keys that are no strings, or a structure that contains itself
        return _format_repr(value)


def _format_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # the __repr__ of a foreign object may raise anything
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def as_list(value: Any, separator: str | None) -> list[Any]:
    """Return the elements of a list column, a JSON list in a text, or a text cut at `separator`."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            parsed = _parse_json(value)
            if isinstance(parsed, list):
                return parsed
        if separator:
            return value.split(separator)
    return [value]


def as_link(value: Any) -> str | None:
    """Return the address of an image: the text itself, or the `url`, `uri`, `path` or `src` of a structure."""
    return _read_text(value, _LINK_KEYS)


def as_name(value: Any) -> str | None:
    """Return a level of a category: the text itself, or the `name`, `title`, `label`, … of a structure."""
    return _read_text(value, _NAME_KEYS)


def choose_path(value: Any, paths: str, separator: str | None) -> list[str]:
    """Return the levels of the most specific category path, root first: the first of the deepest paths.

    Args:
        value: a text of several paths, or a list with one path each.
        paths: separator between the paths of a text; after a backslash it belongs to a name (WooCommerce).
        separator: separator between the levels of a path; None: a path has one level.
    """
    listed = as_list(value, None)
    if listed == [value] and isinstance(value, str):
        listed = re.split(rf"(?<!\\){re.escape(paths)}", value)
    texts = ((as_name(path) or "").replace("\\" + paths, paths) for path in listed)
    levels = ([level.strip() for level in (text.split(separator) if separator else [text])] for text in texts)
    return max(([level for level in path if level] for path in levels), key=len, default=[])


def _read_text(value: Any, keys: tuple[str, ...]) -> str | None:
    """Return the first text that a structure has under one of the keys; for any other value, the value as text."""
    texts = (value[key] for key in keys if isinstance(value.get(key), str)) if isinstance(value, Mapping) else ()
    return as_text(next(iter(texts), value))


def parse_attributes(
    value: Any, form: AttributesFormat, *, pair: str, key: str, multi: str
) -> tuple[dict[str, str] | None, str | None]:
    """Return (attributes, None), or (None, error message) if the value is not a map.

    Args:
        value: a map, a list of pairs, a list of {key, value} or {name, value}, JSON text, or a text of pairs.
        form: "auto" recognises the form by the value; "json", "map" and "pairs" accept only that form.
        pair: separator between the pairs of a text.
        key: separator between name and value.
        multi: separator between several values of one name.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}, None
    if isinstance(value, str):
        if form == "pairs" or (form == "auto" and value.lstrip()[:1] not in ("{", "[")):
            return _parse_pairs(value, pair, key, multi)
        value = _parse_json(value) if form != "map" else value
        if value is _NOT_JSON:
            return None, "not valid JSON"
    elif form in ("json", "pairs"):
        return None, f"expected text ({form}), found {_shorten(value)}"
    return _read_structure(value)


def _read_structure(value: Any) -> tuple[dict[str, str] | None, str | None]:
    """Return the attributes in a map or in a list of pairs, or an error message."""
    if isinstance(value, Mapping):
        return _convert_pairs(list(value.items())), None
    if isinstance(value, list | tuple):
        pairs = [_as_pair(element) for element in value]
        if None not in pairs:
            return _convert_pairs([pair for pair in pairs if pair is not None]), None
    return None, f"expected a map of names and values, found {_shorten(value)}"


def _as_pair(element: Any) -> tuple[Any, Any] | None:
    """Return the (name, value) in an element of a list, or None where there is none."""
    if isinstance(element, list | tuple) and len(element) == 2:
        return element[0], element[1]
    if isinstance(element, Mapping):
        for name in ("key", "name"):
            if name in element and "value" in element:
                return element[name], element["value"]
    return None


def _convert_pairs(pairs: list[tuple[Any, Any]]) -> dict[str, str]:
    """Return names and values as texts; several values are joined by commas, null values are left out."""
    texts = []
    for name, value in pairs:
        parts = value if isinstance(value, list | tuple) else [value]
        texts += [(as_text(name) or "", text) for text in map(as_text, parts) if text is not None]
    return join_values(texts)


def join_values(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return name → values; a name that occurs again keeps all its values, each once, joined by commas."""
    joined: dict[str, list[str]] = {}
    for name, text in pairs:
        values = joined.setdefault(name, [])
        if text not in values:
            values.append(text)
    return {name: ", ".join(values) for name, values in joined.items()}


def _parse_pairs(value: str, pair: str, key: str, multi: str) -> tuple[dict[str, str] | None, str | None]:
    """Return the attributes in a text of pairs, or an error message."""
    pairs = []
    for piece in value.split(pair):
        if not piece.strip():
            continue
        name, found, text = piece.partition(key)
        if not found or not name.strip():
            return None, f"expected name{key}value, found {_shorten(piece)}"
        values = (as_text(part.strip()) or "" for part in text.split(multi))
        pairs += [(as_text(name.strip()) or "", text) for text in values]
    return join_values(pairs), None


_NOT_JSON = object()


def _parse_json(text: str) -> Any:
    """Return the parsed JSON, or `_NOT_JSON`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _shorten(value: Any) -> str:
    """Return the value for an error message: quoted text of at most 80 characters."""
    text = as_text(value) or "nothing"
    return repr(text if len(text) <= 80 else text[:77] + "…")
