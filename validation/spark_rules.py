"""The Spark form of the row rules: the checks of `validation.rules` as expressions over the columns of `snapshots`."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from pyspark.sql import Column
from pyspark.sql import functions as F

from validation import rules
from validation.reasons import Reason
from validation.rules import Part, RowLimits

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LISTS = (Part.ATTRIBUTES, Part.TEXTS, Part.URIS)
"""Parts of which a row may have several texts."""


def classify_rows(snapshot: "DataFrame", limits: RowLimits) -> "DataFrame":
    """Return the rows of a snapshot with the columns reason and detail; both are null for a good row.

    Of the good rows that share an id, the first one stays good (`validation.rules.find_refusals`).
    """
    checked = snapshot.withColumn("faults", build_faults(limits))
    is_good = F.size("faults") == 0
    first_row = F.min("source_row").alias("first_row")
    repeated = checked.filter(is_good).groupBy("product_id").agg(first_row, F.count(F.lit(1)).alias("rows"))
    joined = checked.join(repeated.filter("rows > 1").drop("rows"), "product_id", "left")
    is_later = is_good & (F.col("source_row") > F.col("first_row"))
    duplicate = F.format_string(f"{Reason.DUPLICATE_ID}: {rules.DUPLICATE_DETAIL}", "first_row")
    faults = F.when(is_later, F.array(duplicate)).otherwise(F.col("faults"))
    return joined.select(
        *snapshot.columns,
        extract_reason(F.get(faults, F.lit(0))).alias("reason"),
        F.when(F.size(faults) > 0, F.array_join(faults, "; ")).alias("detail"),
    )


def build_faults(limits: RowLimits) -> Column:
    """Return an array column of texts "reason code: fault", empty for a good row (`validation.rules.find_faults`)."""
    faults = [F.concat(F.lit(f"{rule.reason}: "), build_fault(rule, limits)) for rule in rules.ROW_RULES]
    return F.when(F.col("row_error").isNotNull(), F.array(faults[0])).otherwise(F.array_compact(F.array(*faults)))


def extract_reason(fault: Column) -> Column:
    """Return the reason code at the start of a fault."""
    return F.substring_index(fault, ": ", 1)


def build_fault(rule: rules.RowRule, limits: RowLimits) -> Column:
    """Return what a rule finds wrong with a row; null when it finds nothing."""
    found = [_explain(check, limits) for check in rule.checks]
    if len(found) == 1:
        return found[0]
    text = F.concat_ws(", ", *found)
    return F.when(text != "", F.concat(F.lit(rule.prefix), text))


def is_invisible(text: Column) -> Column:
    """Return whether a text is null or has no visible character."""
    return F.coalesce(~text.rlike(rules.VISIBLE_CHARACTER), F.lit(True))


def _explain(check: rules.Check, limits: RowLimits) -> Column:
    """Return what a check finds wrong with a row, as `validation.rules.explain` does; null when it finds nothing."""
    match check:
        case rules.ReadingError(column):
            fault = F.col(column)
        case rules.NothingVisible(part):
            text = _get_texts(part)
            quoted = F.concat(F.lit("'"), F.substring(text, 1, rules.MAX_SHOWN_CHARACTERS), F.lit("'"))
            shown = F.coalesce(quoted, F.lit("null"))
            fault = F.when(is_invisible(text), F.concat(F.lit(f"the {part.value} is "), shown))
        case rules.ForbiddenCharacters(part, pattern):
            texts = _get_texts(part)
            is_found = F.exists(texts, lambda text: text.rlike(pattern)) if part in LISTS else texts.rlike(pattern)
            fault = F.when(is_found, F.lit(part.value))
        case rules.TooLong(part, limit, unit):
            measure = F.octet_length if unit == "bytes" else F.length
            texts = _get_texts(part)
            size = F.array_max(F.transform(texts, measure)) if part in LISTS else measure(texts)
            fault = _over(F.concat(F.lit(f"{part.value} of "), size, F.lit(f" {unit}")), size, limit(limits))
        case rules.ImageCheck.NONE:
            fault = F.when(F.size(_get_texts(Part.URIS)) == 0, F.lit("the row names no image"))
        case rules.ImageCheck.TOO_MANY:
            count = F.size(_get_texts(Part.URIS))
            fault = _over(F.concat(count, F.lit(" images")), count, limits.images)
        case rules.ImageCheck.OUTSIDE_ROOTS:
            outside = F.filter(_get_texts(Part.URIS), lambda uri: ~_is_under(uri, limits.roots))
            shown = F.substring(F.array_join(outside, " ", "null"), 1, rules.MAX_SHOWN_URI_CHARACTERS)
            fault = F.when(F.size(outside) > 0, F.concat(shown, F.lit(f" not under {' or '.join(limits.roots)}")))
    return fault


def _over(what: Column, size: Column, maximum: int) -> Column:
    return F.when(size > maximum, F.concat(what, F.lit(f", at most {maximum}")))


def _is_under(uri: Column, roots: tuple[str, ...]) -> Column:
    """Return whether the text of a URI is under a root, as `schemas.uri.is_under` does; False for null."""
    starts = [uri.startswith(root.rstrip("/") + "/") for root in roots]
    return F.coalesce(reduce(or_, starts, F.lit(False)), F.lit(False))


def _get_texts(part: Part) -> Column:
    """Return a part of a row: a text, or an array of texts for the parts of `LISTS` (`validation.rules.list_texts`)."""
    match part:
        case Part.ID:
            return F.col("product_id")
        case Part.TITLE | Part.DESCRIPTION:
            return F.col(part.value)
        case Part.CATEGORY:
            return F.array_join(_or_empty(F.col("category")), "/")
        case Part.URIS:
            return _or_empty(F.col("images")["uri"])
    attributes = F.flatten(
        F.transform(_or_empty(F.map_entries("attributes")), lambda pair: F.array(pair["key"], pair["value"]))
    )
    if part == Part.ATTRIBUTES:
        return attributes
    return F.concat(F.array("title", "description"), _or_empty(F.col("category")), attributes)


def _or_empty(array: Column) -> Column:
    return F.coalesce(array, F.array())
