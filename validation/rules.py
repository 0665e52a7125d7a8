"""The row rules as data: the reasons for which a row of a snapshot is refused; and their Python form.

A rule is a reason code and the checks that give it. Each check has two forms with the same result and the same text of
the detail: this module applies it to one mapped row (`moon check-source`), `validation.spark_rules` turns it into a
Spark expression (the stage validate). The limits on a snapshot as a whole are in `validation.gate`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from itertools import chain
from typing import Literal

from schemas.collection import ID_FIELD, MAX_TEXT_BYTES
from schemas.source import MappedRow
from schemas.uri import is_under
from validation.reasons import Reason

MAX_ID_BYTES = MAX_TEXT_BYTES[ID_FIELD]
"""UTF-8 bytes of a product id, the primary key of the Milvus collection."""

MAX_SHOWN_CHARACTERS = 80
"""Characters of a refused text that the detail of a refusal shows."""

MAX_SHOWN_URI_CHARACTERS = 500

INVISIBLE = "\u00ad\u200b-\u200f\u2060\ufeff"
WHITE_SPACE = "\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""White space at which ``str.split`` splits and which canonical text replaces, as part of a character class."""

VISIBLE_CHARACTER = f"[^{WHITE_SPACE}{INVISIBLE}]"
BROKEN_CHARACTER = "[\\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufffd\ufffe\uffff]"
"""Control characters that canonical text keeps, and replacements that decoders write for unreadable bytes."""
CONTROL_OR_BROKEN_CHARACTER = rf"[\x00-\x1f\x7f-\x9f]|{BROKEN_CHARACTER}"


@dataclass(frozen=True)
class RowLimits:
    """The numbers in the row rules.

    Attributes:
        title: Maximum characters of a title as delivered, and of the category path.
        description: Maximum characters of a description as delivered, and of an attribute's name or value.
        images: Maximum images of one product.
        roots: Canonical URIs of the folders that images may come from.
    """

    title: int
    description: int
    images: int
    roots: tuple[str, ...]

    def compute_digest(self) -> str:
        """Return 16 hex digits that differ for different limits and different rules."""
        document = json.dumps([RULES_VERSION, asdict(self)])
        return hashlib.sha256(document.encode()).hexdigest()[:16]


RULES_VERSION = 2
"""Increase it with any change of a row rule or of the canonical form: validated dates are then validated again."""


class Part(Enum):
    """A part of a row that checks read, as a list of texts; the value is its name in the detail of a refusal."""

    ID = "id"
    TITLE = "title"
    DESCRIPTION = "description"
    CATEGORY = "category"
    """The path as one text, levels joined by a slash."""
    ATTRIBUTES = "an attribute"
    """Names and values."""
    TEXTS = "text"
    """Everything that the model reads: title, description, levels of the category, names and values of attributes."""
    URIS = "image URI"


@dataclass(frozen=True)
class ReadingError:
    """Reading or mapping the row failed; the column says how."""

    column: Literal["row_error", "attributes_error"]


@dataclass(frozen=True)
class NothingVisible:
    """The text is null or has no visible character."""

    part: Part


@dataclass(frozen=True)
class ForbiddenCharacters:
    """A text of the part has a character that the pattern matches; Python and Java read the pattern in the same way."""

    part: Part
    pattern: str


@dataclass(frozen=True)
class TooLong:
    """The longest text of the part is over its limit."""

    part: Part
    limit: Callable[[RowLimits], int]
    unit: Literal["characters", "bytes"] = "characters"


class ImageCheck(Enum):
    """Checks of a row's images: there is none, there are too many, or a URI is outside the allowed roots."""

    NONE, TOO_MANY, OUTSIDE_ROOTS = range(3)


Check = ReadingError | NothingVisible | ForbiddenCharacters | TooLong | ImageCheck


@dataclass(frozen=True)
class RowRule:
    """One reason to refuse a row.

    Attributes:
        reason: The reason code.
        checks: The row is refused when one of them finds something; the detail joins what all of them find.
        prefix: Start of the detail.
    """

    reason: Reason
    checks: tuple[Check, ...]
    prefix: str = ""


ROW_RULES: tuple[RowRule, ...] = (
    RowRule(Reason.MALFORMED_ROW, (ReadingError("row_error"),)),
    RowRule(Reason.MISSING_ID, (NothingVisible(Part.ID),)),
    RowRule(
        Reason.INVALID_CHARACTERS,
        (
            ForbiddenCharacters(Part.ID, CONTROL_OR_BROKEN_CHARACTER),
            ForbiddenCharacters(Part.TEXTS, BROKEN_CHARACTER),
            ForbiddenCharacters(Part.URIS, CONTROL_OR_BROKEN_CHARACTER),
        ),
        prefix="in ",
    ),
    RowRule(Reason.EMPTY_TITLE, (NothingVisible(Part.TITLE),)),
    RowRule(
        Reason.TEXT_TOO_LONG,
        (
            TooLong(Part.ID, lambda limits: MAX_ID_BYTES, "bytes"),
            TooLong(Part.TITLE, lambda limits: limits.title),
            TooLong(Part.DESCRIPTION, lambda limits: limits.description),
            TooLong(Part.CATEGORY, lambda limits: limits.title),
            TooLong(Part.ATTRIBUTES, lambda limits: limits.description),
        ),
    ),
    RowRule(Reason.MALFORMED_ATTRIBUTES, (ReadingError("attributes_error"),)),
    RowRule(Reason.NO_IMAGE, (ImageCheck.NONE,)),
    RowRule(Reason.TOO_MANY_IMAGES, (ImageCheck.TOO_MANY,)),
    RowRule(Reason.FORBIDDEN_URI, (ImageCheck.OUTSIDE_ROOTS,)),
)
"""In the order of the tests: the first rule that a row breaks is its reason; all that it breaks are in the detail.

`Reason.DUPLICATE_ID` comes after them because it compares rows (`find_refusals`)."""

DUPLICATE_DETAIL = "row %d has the same id"
"""Detail of a row whose id an earlier good row of the same snapshot has."""


@dataclass(frozen=True)
class Refusal:
    """A row that is refused: its number in reading order, counted from 0, the reason code and what is wrong."""

    source_row: int
    reason: Reason
    detail: str


class RefusalFinder:
    """Finds the refused rows of one snapshot, given row by row in any order, as the stage validate refuses them.

    Args:
        limits: The numbers in the rules.
    """

    def __init__(self, limits: RowLimits) -> None:
        self._limits = limits
        self._refused: list[Refusal] = []
        self._first_rows: dict[str | None, int] = {}  # of good rows, by id
        self._repeated: list[tuple[str | None, int]] = []

    def add(self, number: int, row: MappedRow) -> Reason | None:
        """Judge a row; return why it is refused, None for a good one among those that were given.

        Args:
            number: Its place in reading order.
            row: As mapped.
        """
        if faults := find_faults(row, self._limits):
            detail = "; ".join(f"{reason}: {text}" for reason, text in faults.items())
            self._refused.append(Refusal(number, next(iter(faults)), detail))
            return self._refused[-1].reason
        first = self._first_rows.setdefault(row.product_id, number)
        if number == first:
            return None
        self._first_rows[row.product_id] = min(first, number)
        self._repeated.append((row.product_id, max(first, number)))
        return Reason.DUPLICATE_ID if number > first else None

    def list_refusals(self, renumber: Callable[[int], int] = int) -> list[Refusal]:
        """Return the refused rows in reading order.

        Args:
            renumber: Turns the numbers that were given to `add` into those to show; it keeps their order.
        """
        found = [Refusal(renumber(one.source_row), one.reason, one.detail) for one in self._refused]
        for product_id, number in self._repeated:
            detail = f"{Reason.DUPLICATE_ID}: {DUPLICATE_DETAIL % renumber(self._first_rows[product_id])}"
            found.append(Refusal(renumber(number), Reason.DUPLICATE_ID, detail))
        return sorted(found, key=lambda refusal: refusal.source_row)


def find_refusals(rows: Iterable[tuple[int, MappedRow]], limits: RowLimits) -> list[Refusal]:
    """Return the refused rows of one snapshot, as the stage validate refuses them.

    Args:
        rows: (source_row, row) in reading order.
        limits: The numbers in the rules.
    """
    finder = RefusalFinder(limits)
    for number, row in rows:
        finder.add(number, row)
    return finder.list_refusals()


def find_faults(row: MappedRow, limits: RowLimits) -> dict[Reason, str]:
    """Return what is wrong with a row by reason code, in the order of the rules; empty for a good row.

    For a row that cannot be read only that reason is returned, because its other columns are empty.
    """
    rules = ROW_RULES if row.row_error is None else ROW_RULES[:1]
    faults = {}
    for rule in rules:
        found = [text for check in rule.checks if (text := explain(check, row, limits)) is not None]
        if found:
            faults[rule.reason] = rule.prefix + ", ".join(found)
    return faults


def explain(check: Check, row: MappedRow, limits: RowLimits) -> str | None:
    """Return what a check finds wrong with a row; None when it finds nothing."""
    fault: str | None = None
    match check:
        case ReadingError(column):
            fault = getattr(row, column)
        case NothingVisible(part):
            text = next(iter(list_texts(row, part)), None)
            if is_invisible(text):
                fault = f"the {part.value} is " + ("null" if text is None else f"'{text[:MAX_SHOWN_CHARACTERS]}'")
        case ForbiddenCharacters(part, pattern):
            if re.search(pattern, " ".join(list_texts(row, part))):  # a pattern matches one character, never a space
                fault = part.value
        case TooLong(part, limit, unit):
            size = max((len(text.encode() if unit == "bytes" else text) for text in list_texts(row, part)), default=0)
            if size > limit(limits):
                fault = f"{part.value} of {size} {unit}, at most {limit(limits)}"
        case ImageCheck.NONE:
            fault = None if row.images else "the row names no image"
        case ImageCheck.TOO_MANY:
            if len(row.images) > limits.images:
                fault = f"{len(row.images)} images, at most {limits.images}"
        case ImageCheck.OUTSIDE_ROOTS:
            outside = [uri for uri in list_texts(row, Part.URIS) if not is_under(uri, limits.roots)]
            if outside:
                fault = f"{' '.join(outside)[:MAX_SHOWN_URI_CHARACTERS]} not under {' or '.join(limits.roots)}"
    return fault


def is_invisible(text: str | None) -> bool:
    """Return whether a text is null or has no visible character (`validation.spark_rules.is_invisible`)."""
    return text is None or not re.search(VISIBLE_CHARACTER, text)


def list_texts(row: MappedRow, part: Part) -> list[str]:
    """Return the texts of a part of a row without nulls."""
    texts: Iterable[str | None]
    match part:
        case Part.ID:
            texts = (row.product_id,)
        case Part.TITLE:
            texts = (row.title,)
        case Part.DESCRIPTION:
            texts = (row.description,)
        case Part.CATEGORY:
            texts = ("/".join(row.category),)
        case Part.ATTRIBUTES:
            texts = chain.from_iterable((row.attributes or {}).items())
        case Part.TEXTS:
            texts = chain((row.title, row.description), row.category, list_texts(row, Part.ATTRIBUTES))
        case Part.URIS:
            texts = (image.uri for image in row.images)
    return [text for text in texts if text is not None]
