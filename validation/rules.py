"""The one table of rules: what refuses a row, and what stops a night at the gate.

A row rule is a Spark expression over the columns of `snapshots`; a gate rule is a limit on one metric of the whole
snapshot (`validation.metrics`), which Great Expectations tests (`validation.gate`).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import reduce
from operator import or_

from pyspark.sql import Column
from pyspark.sql import functions as F

from schemas.collection import ID_FIELD, MAX_TEXT_BYTES
from validation.reasons import Reason

MAX_ID_BYTES = MAX_TEXT_BYTES[ID_FIELD]
"""UTF-8 bytes of a product id, the primary key of the Milvus collection."""

INVISIBLE = "\u00ad\u200b-\u200f\u2060\ufeff"
WHITE_SPACE = "\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Inside a character class: what Python's ``str.split`` cuts at, hence what canonical text folds."""

VISIBLE_CHARACTER = f"[^{WHITE_SPACE}{INVISIBLE}]"
CONTROL_CHARACTER = r"[\x00-\x1f\x7f-\x9f]"
BROKEN_CHARACTER = "[\\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufffd\ufffe\uffff]"
"""Control characters that canonical text keeps, and what decoders leave in the place of bytes they could not read."""


@dataclass(frozen=True)
class RowLimits:
    """The numbers in the row rules.

    Attributes:
        title, description: characters as delivered; the category path counts as a title, an attribute's name or value
            as a description.
        images: of one product.
        roots: canonical URIs of the folders that images may come from.
    """

    title: int
    description: int
    images: int
    roots: tuple[str, ...]

    def digest(self) -> str:
        """Return 16 hex digits that differ for different limits and different rules."""
        document = json.dumps([RULES_VERSION, asdict(self)])
        return hashlib.sha256(document.encode()).hexdigest()[:16]


RULES_VERSION = 1
"""Raise this with any change of a row rule: validated dates are then validated again."""


@dataclass(frozen=True)
class RowRule:
    """One reason to refuse a row.

    Attributes:
        reason: its code.
        fault: the expression that says what is wrong, for the person who must mend the row; null for a good row.
    """

    reason: Reason
    fault: Callable[[RowLimits], Column]


def is_invisible(column: str) -> Column:
    """Return whether a text is null or has nothing to see in it."""
    return F.coalesce(~F.col(column).rlike(VISIBLE_CHARACTER), F.lit(True))


def _unseen(column: str, name: str) -> Column:
    shown = F.coalesce(F.concat(F.lit("'"), F.substring(column, 1, 80), F.lit("'")), F.lit("null"))
    return F.when(is_invisible(column), F.concat(F.lit(f"the {name} is "), shown))


def _invalid_characters(limits: RowLimits) -> Column:
    attributes = F.flatten(F.transform(_pairs(), lambda pair: F.array(pair["key"], pair["value"])))
    texts = F.concat(F.array("title", "description"), _list("category"), attributes)
    ids = F.when(F.col("product_id").rlike(f"{CONTROL_CHARACTER}|{BROKEN_CHARACTER}"), F.lit("id"))
    text = F.when(F.exists(texts, lambda text: F.coalesce(text.rlike(BROKEN_CHARACTER), F.lit(False))), F.lit("text"))
    broken = F.exists(
        _uris(), lambda uri: F.coalesce(uri.rlike(f"{CONTROL_CHARACTER}|{BROKEN_CHARACTER}"), F.lit(False))
    )
    return _join_faults("in ", ids, text, F.when(broken, F.lit("image URI")))


def _text_too_long(limits: RowLimits) -> Column:
    attribute = F.array_max(
        F.transform(_pairs(), lambda pair: F.greatest(F.length(pair["key"]), F.length(pair["value"])))
    )
    sizes = (
        ("id", F.octet_length("product_id"), MAX_ID_BYTES, "bytes"),
        ("title", F.length("title"), limits.title, "characters"),
        ("description", F.length("description"), limits.description, "characters"),
        ("category", F.length(F.array_join(_list("category"), "/")), limits.title, "characters"),
        ("an attribute", attribute, limits.description, "characters"),
    )
    faults = (
        F.when(size > most, F.concat(F.lit(f"{name} of "), size, F.lit(f" {unit}, at most {most}")))
        for name, size, most, unit in sizes
    )
    return _join_faults("", *faults)


def _too_many_images(limits: RowLimits) -> Column:
    images = F.size(_list("images"))
    return F.when(images > limits.images, F.concat(images, F.lit(f" images, at most {limits.images}")))


def _forbidden_uri(limits: RowLimits) -> Column:
    forbidden = F.filter(_uris(), lambda uri: ~_is_under(uri, limits.roots))
    named = F.substring(F.array_join(forbidden, " ", "null"), 1, 500)
    roots = F.lit(f" not under {' or '.join(limits.roots)}")
    return F.when(F.size(forbidden) > 0, F.concat(named, roots))


def _is_under(uri: Column, roots: tuple[str, ...]) -> Column:
    """Return whether a URI lies under a root by its spelling, as `schemas.uri.is_under` does."""
    if not roots:
        return F.lit(False)
    return F.coalesce(reduce(or_, (uri.startswith(root.rstrip("/") + "/") for root in roots)), F.lit(False))


def _join_faults(start: str, *faults: Column) -> Column:
    """Return the faults that are not null as one text; null when there is none."""
    text = F.concat_ws(", ", *faults)
    return F.when(text != "", F.concat(F.lit(start), text))


def _list(column: str) -> Column:
    return F.coalesce(F.col(column), F.array())


def _pairs() -> Column:
    return F.coalesce(F.map_entries("attributes"), F.array())


def _uris() -> Column:
    return F.coalesce(F.col("images")["uri"], F.array())


ROW_RULES: tuple[RowRule, ...] = (
    RowRule(Reason.MALFORMED_ROW, lambda limits: F.col("row_error")),
    RowRule(Reason.MISSING_ID, lambda limits: _unseen("product_id", "id")),
    RowRule(Reason.INVALID_CHARACTERS, _invalid_characters),
    RowRule(Reason.EMPTY_TITLE, lambda limits: _unseen("title", "title")),
    RowRule(Reason.TEXT_TOO_LONG, _text_too_long),
    RowRule(Reason.MALFORMED_ATTRIBUTES, lambda limits: F.col("attributes_error")),
    RowRule(Reason.NO_IMAGE, lambda limits: F.when(F.size(_list("images")) == 0, F.lit("the row names no image"))),
    RowRule(Reason.TOO_MANY_IMAGES, _too_many_images),
    RowRule(Reason.FORBIDDEN_URI, _forbidden_uri),
)
"""In the order in which they are tested: the first that a row breaks is its reason, all are in its detail.

`Reason.DUPLICATE_ID` comes after them: it looks at several rows (`jobs.stages.validate`)."""


def find_faults(limits: RowLimits) -> Column:
    """Return what is wrong with a row as an array of "code: words", empty for a good row.

    A row that cannot be read is only that: its other columns are null for no fault of their own.
    """
    found = [F.concat(F.lit(f"{rule.reason}: "), rule.fault(limits)) for rule in ROW_RULES]
    return F.when(F.col("row_error").isNotNull(), F.array(found[0])).otherwise(F.array_compact(F.array(*found)))


def extract_reason(fault: Column) -> Column:
    """Return the code at the start of a fault."""
    return F.substring_index(fault, ": ", 1)


@dataclass(frozen=True)
class GateLimits:
    """The numbers in the gate's rules.

    Attributes:
        row_ratio: least rows tonight as a share of the rows of the latest earlier date.
        null_share: largest share of rows without an id, a title or an image.
        duplicate_share: largest share of ids that an earlier row has as well.
        category_coverage: least share of the earlier date's top categories that are still there.
        floor: a share over its limit passes when it means this many rows or fewer: small catalogues move in large
            shares.
    """

    row_ratio: float
    null_share: float
    duplicate_share: float
    category_coverage: float
    floor: int

    def most(self, share: float, rows: int) -> float:
        """Return the largest share that passes among so many rows."""
        return min(1.0, max(share, self.floor / rows)) if rows else 1.0

    def least(self, share: float, rows: int) -> float:
        """Return the smallest share of so many rows that passes."""
        return max(0.0, min(share, 1 - self.floor / rows)) if rows else 0.0


@dataclass(frozen=True)
class GateRule:
    """A limit on one metric of a snapshot.

    Attributes:
        metric: its column in the frame of `validation.metrics`.
        meaning: what it measures, in words.
        least, most: the bounds, given the limits and the rows of tonight and of the earlier date.
        setting: what to change if the snapshot is right and the limit is not.
    """

    metric: str
    meaning: str
    least: Callable[[GateLimits, int, int], float | None]
    most: Callable[[GateLimits, int, int], float | None]
    setting: str = ""


def _unbounded(limits: GateLimits, rows: int, earlier_rows: int) -> float | None:
    return None


def _share_rule(metric: str, meaning: str) -> GateRule:
    return GateRule(
        metric, meaning, _unbounded, lambda gate, rows, _: gate.most(gate.null_share, rows), "MOON_MAX_NULL_SHARE"
    )


GATE_RULES: tuple[GateRule, ...] = (
    GateRule("rows", "rows tonight", lambda gate, rows, earlier: 1, _unbounded),
    GateRule(
        "row_ratio",
        "rows tonight as a share of the rows of the latest earlier date",
        lambda gate, rows, earlier: gate.least(gate.row_ratio, earlier),
        _unbounded,
        "MOON_MIN_ROW_RATIO",
    ),
    _share_rule("null_id_share", "share of rows without a product id"),
    _share_rule("null_title_share", "share of rows without a title"),
    _share_rule("null_image_share", "share of rows without an image"),
    GateRule(
        "duplicate_share",
        "share of ids that occur in an earlier row",
        _unbounded,
        lambda gate, rows, earlier: gate.most(gate.duplicate_share, rows),
        "MOON_MAX_DUPLICATE_SHARE",
    ),
    GateRule(
        "category_coverage",
        "share of the earlier date's top categories that are still there",
        lambda gate, rows, earlier: gate.least(gate.category_coverage, earlier),
        _unbounded,
        "MOON_MIN_CATEGORY_COVERAGE",
    ),
)
