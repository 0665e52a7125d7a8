"""Parses ``--where``, the filter of a re-embedding, into a Spark condition over an allow-list of fields.

Fields and syntax are those of a Milvus filter (``moon search --filter``); `schemas.conditions` parses the text. The
result is a Spark Column built from literals, so no user text reaches Spark SQL.
"""

import operator
from collections.abc import Callable
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import MoonError
from jobs.serving.rows import brand_column
from schemas.collection import CATEGORY_LEVELS, CATEGORY_SEPARATOR
from schemas.conditions import (
    COMPARISONS,
    Comparison,
    Condition,
    ConditionError,
    Contains,
    Junction,
    Negation,
    OneOf,
    parse_condition,
)

TEXT_FIELDS: dict[str, Callable[[], Column]] = {
    "product_id": lambda: F.col("product_id"),
    "title": lambda: F.col("title"),
    "description": lambda: F.col("description"),
    "category": lambda: F.concat_ws(CATEGORY_SEPARATOR, "category"),
    **{
        name: lambda level=level: F.get("category", F.lit(level))  # type: ignore[misc]
        for level, name in enumerate(CATEGORY_LEVELS)
    },
    "brand": brand_column,
}
"""Fields that hold a text; an absent one is the empty text, as it is in Milvus."""

NUMBER_FIELDS: dict[str, Callable[[], Column]] = {"images": lambda: F.size("images")}
"""Fields that hold a number: `images` is a product's number of images."""

FILTER_FIELDS = (*TEXT_FIELDS, *NUMBER_FIELDS)

_FIELD_TYPES = {**dict.fromkeys(TEXT_FIELDS, str), **dict.fromkeys(NUMBER_FIELDS, int)}


class RowFilterError(MoonError):
    """The text is not a valid filter expression; the message lists the fields and an example."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"--where: {problem}. Fields: {', '.join(FILTER_FIELDS)}. Write, for example: "
            'category_1 == "Shoes" and brand in ["A", "B"] and not ("outlet" in title) and images >= 2'
        )


def filter_products(products: DataFrame, text: str) -> DataFrame:
    """Return the rows of `products` that match an expression; an empty expression matches all.

    Raises:
        RowFilterError: The text is no such expression.
    """
    return products.where(parse_filter(text)) if text else products


def parse_filter(text: str) -> Column:
    """Return an expression (`schemas.conditions.parse_condition`) as a condition over the columns of `products`.

    Raises:
        RowFilterError: The text is no such expression.
    """
    try:
        return _build_column(parse_condition(text, _FIELD_TYPES))
    except ConditionError as error:
        raise RowFilterError(str(error)) from error
    except RecursionError as error:
        raise RowFilterError(f"{text!r} cannot be read ({error})") from error


def _build_column(condition: Condition) -> Column:
    match condition:
        case Comparison(field, name, value):
            found: Column = COMPARISONS[name](_get_field(field), F.lit(value))
        case OneOf(field, values):
            found = _get_field(field).isin(list(values))
        case Contains(field, part):
            found = _get_field(field).contains(F.lit(part))
        case Negation(inner):
            found = ~_build_column(inner)
        case Junction(conditions, needs_all):
            found = reduce(operator.and_ if needs_all else operator.or_, map(_build_column, conditions))
    return found


def _get_field(name: str) -> Column:
    return F.coalesce(TEXT_FIELDS[name](), F.lit("")) if name in TEXT_FIELDS else NUMBER_FIELDS[name]()
