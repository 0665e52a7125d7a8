"""Values that a product is served and filtered with but that never reach the model: types, canonical JSON and hash.

The mapping's ``[payload]`` names them with their columns and types. A value that is not of its type is left out of the
product's payload and noted; the row is served all the same (docs/decisions/0053-payload.md).
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

from schemas.source_values import as_list, as_text

PayloadType = Literal["number", "integer", "boolean", "text", "texts", "json"]
PAYLOAD_TYPES: tuple[str, ...] = get_args(PayloadType)

MAX_PAYLOAD_BYTES = 60_000
"""Bytes of a product's payload; Milvus refuses JSON of more than 65,536."""

MAX_INTEGER = 2**63 - 1
"""Largest whole number that Milvus compares exactly."""

MAX_SHOWN = 200
"""Characters of an unreadable value that are kept."""

TRUE_TEXTS = frozenset({"true", "yes", "1", "y", "t", "on", "in stock", "in_stock", "instock"})
FALSE_TEXTS = frozenset({"false", "no", "0", "n", "f", "off", "out of stock", "out_of_stock", "outofstock"})

_AMOUNT = re.compile(
    r"(?:[^\W\d_]{0,4}|\W)\s*([+-]?[\d.,' \u00a0\u202f]*\d[.,]?(?:[eE][+-]?\d{1,3})?)\s*(?:[^\W\d_]{0,4}|\W)"
)
"""A number with a currency before or after it: ``9.99``, ``€ 9,99``, ``9.99 USD``."""


class PayloadValueError(ValueError):
    """A value is not of its type."""


def write_canonical_json(value: Any) -> str:
    """Return a value as JSON that is the same for equal values: sorted keys, no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def compute_payload_hash(payload: str) -> str:
    """Return the SHA-256 (64 hex digits) of a payload in canonical JSON."""
    return hashlib.sha256(payload.encode()).hexdigest()


def convert_payload(
    values: Mapping[str, tuple[Any, PayloadType, str | None]],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the readable values by name, and the text of those that are not of their type.

    Args:
        values: delivered value, type and separator (of ``texts``) by name. An absent or empty value is in
            neither result.
    """
    payload: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, (value, kind, separator) in values.items():
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        try:
            converted = _READERS[kind](value) if kind != "texts" else _read_texts(value, separator)
        except PayloadValueError:
            errors[name] = (as_text(value) or "")[:MAX_SHOWN]
            continue
        if converted is not None:
            payload[name] = converted
    return payload, errors


def merge_payloads(payloads: Iterable[Mapping[str, Any]], joined: frozenset[str]) -> dict[str, Any]:
    """Return the payload of rows of one product: the first value of each name; all texts of those in ``joined``."""
    merged: dict[str, Any] = {}
    for payload in payloads:
        for name, value in payload.items():
            if name in joined and name in merged:
                merged[name] = list(dict.fromkeys([*merged[name], *value]))
            else:
                merged.setdefault(name, value)
    return merged


def _read_number(value: Any) -> float | int | None:
    if isinstance(value, bool):
        raise PayloadValueError
    if isinstance(value, float) and math.isnan(value):
        return None
    number = _parse_number(value)
    if not math.isfinite(number):
        raise PayloadValueError
    return int(number) if number == int(number) and abs(number) <= MAX_INTEGER else float(number)


def _read_integer(value: Any) -> int | None:
    number = _read_number(value)
    if number is None or isinstance(number, int):
        return number
    raise PayloadValueError


def _parse_number(value: Any) -> Decimal | float:
    """Return the number in a value; of a text with both separators the last is the decimal one."""
    if isinstance(value, int | float | Decimal):
        return Decimal(value) if isinstance(value, int) else value
    found = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise PayloadValueError
    text = re.sub(r"[' \u00a0\u202f]", "", found[1])
    try:
        return Decimal(_find_decimal_point(text))
    except InvalidOperation as error:
        raise PayloadValueError from error


def _find_decimal_point(text: str) -> str:
    """Return a number's text with a point as its only separator."""
    last = max(text.rfind("."), text.rfind(","))
    if last < 0:
        return text
    mark, other = text[last], "," if text[last] == "." else "."
    if text.count(mark) > 1:
        if other in text:
            raise PayloadValueError
        return _drop_groups(text, mark)
    if other in text:
        return _drop_groups(text[:last], other) + "." + text[last + 1 :]
    if mark == "," and re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text):
        raise PayloadValueError  # 1,234 is a thousand in one country and one in another
    return text.replace(mark, ".")


def _drop_groups(text: str, mark: str) -> str:
    """Return the digits of a number that is grouped by thousands."""
    first, *groups = text.split(mark)
    if not re.fullmatch(r"[+-]?\d{1,3}", first) or any(not re.fullmatch(r"\d{3}", group) for group in groups):
        raise PayloadValueError
    return first + "".join(groups)


def _read_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = (as_text(value) or "").strip().lower()
    if text in TRUE_TEXTS or text in FALSE_TEXTS:
        return text in TRUE_TEXTS
    raise PayloadValueError


def _read_text(value: Any) -> str | None:
    text = as_text(value)
    return text.strip() if text is not None else None


def _read_texts(value: Any, separator: str | None) -> list[str] | None:
    texts = (_read_text(part) for part in as_list(value, separator))
    return list(dict.fromkeys(text for text in texts if text)) or None


def _read_json(value: Any) -> Any:
    """Return the value of JSON text, or a structure as JSON has it."""
    try:
        text = value if isinstance(value, str) else as_text(value)
        parsed = json.loads(text or "null", parse_constant=_refuse_constant)
        return json.loads(write_canonical_json(parsed))
    except (ValueError, RecursionError) as error:
        raise PayloadValueError from error


def _refuse_constant(name: str) -> Any:
    raise PayloadValueError(name)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "number": _read_number,
    "integer": _read_integer,
    "boolean": _read_boolean,
    "text": _read_text,
    "json": _read_json,
}
