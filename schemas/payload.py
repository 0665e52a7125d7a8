"""Values that a product is served and filtered with but that never reach the model: types, canonical JSON and hash.

The mapping's ``[payload]`` names them with their columns and types. A value that is not of its type is left out of the
product's payload and noted; the row is served all the same (docs/decisions/0053-payload.md).
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from schemas.source_values import as_list, as_text

PayloadType = Literal["number", "integer", "boolean", "text", "texts", "json"]
PayloadName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
"""Name of a value: a plain identifier, so that a filter needs no escapes for it."""

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


class PayloadColumn(BaseModel):
    """Source of one value of the payload: a column and the type of its values; `separator` cuts a text to ``texts``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    column: Annotated[str, StringConstraints(min_length=1)]
    type: PayloadType = "text"
    separator: Annotated[str, StringConstraints(min_length=1)] | None = None

    @model_validator(mode="after")
    def _check_separator(self) -> Self:
        if self.separator is not None and self.type != "texts":
            raise ValueError('separator belongs to type = "texts"')
        return self


class PayloadValueError(ValueError):
    """A value is not of its type."""


def write_canonical_json(value: Any) -> str:
    """Return a value as JSON that is the same for equal values: sorted keys, no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def compute_payload_hash(payload: str) -> str:
    """Return the SHA-256 (64 hex digits) of a payload in canonical JSON."""
    return hashlib.sha256(payload.encode()).hexdigest()


def read_payload(
    record: Mapping[str, Any], columns: Mapping[str, PayloadColumn]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of a record by name, and the text of those that are not of their type or too large.

    An absent or empty value is in neither.

    Args:
        record: column → value of any type.
        columns: source of each value, by its name.
    """
    payload: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, spec in columns.items():
        value = record.get(spec.column)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        try:
            converted = _read_texts(value, spec.separator) if spec.type == "texts" else _READERS[spec.type](value)
        except PayloadValueError:
            converted, errors[name] = None, (as_text(value) or "")[:MAX_SHOWN]
        if converted is None:
            continue
        payload[name] = converted
        if len(write_canonical_json(payload).encode()) > MAX_PAYLOAD_BYTES:
            errors[name] = (as_text(payload.pop(name)) or "")[:MAX_SHOWN]
    return payload, errors


def merge_payloads(payloads: Iterable[Mapping[str, Any]], joined: Collection[str]) -> dict[str, Any]:
    """Return the payload of rows of one product: the first value of each name; all texts of those in ``joined``."""
    merged: dict[str, Any] = {}
    for payload in payloads:
        for name, value in payload.items():
            if name in joined and name in merged:
                grown = {**merged, name: list(dict.fromkeys([*merged[name], *value]))}
            else:
                grown = {name: value, **merged}
            if len(write_canonical_json(grown).encode()) <= MAX_PAYLOAD_BYTES:
                merged = grown
    return merged


def _read_number(value: Any) -> float | int | None:
    if isinstance(value, bool):  # an int for Python
        raise PayloadValueError
    if isinstance(value, float) and math.isnan(value):
        return None
    number = _parse_number(value)
    if not math.isfinite(float(number)):
        raise PayloadValueError
    return int(number) if number == int(number) and abs(number) <= MAX_INTEGER else float(number)


def _read_integer(value: Any) -> int | None:
    number = _read_number(value)
    if number is None or isinstance(number, int):
        return number
    raise PayloadValueError


def _parse_number(value: Any) -> Decimal:
    """Return the number in a value; of a text with both separators the last is the decimal one."""
    if isinstance(value, int | float | Decimal):
        return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
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
