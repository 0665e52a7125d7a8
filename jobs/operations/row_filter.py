"""``--where``: the products that a re-embedding takes, as an expression over an allow-list of fields.

Fields and spelling are those of a Milvus filter (``moon search --filter``). Python's parser reads the text, and every
node of its tree has to be on a list. The result is a Spark Column built of literals: no text of the user reaches
Spark's SQL.
"""

import ast
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import MoonError
from jobs.serving.rows import brand_column
from schemas.collection import CATEGORY_LEVELS, CATEGORY_SEPARATOR

MAX_EXPRESSION_CHARACTERS = 2000

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

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Column]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class RowFilterError(MoonError):
    """The text is no expression that is understood; the message lists fields and an example."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"--where: {problem}. Fields: {', '.join(FILTER_FIELDS)}. Write, for example: "
            'category_1 == "Shoes" and brand in ["A", "B"] and not ("outlet" in title) and images >= 2'
        )


def filter_products(products: DataFrame, text: str) -> DataFrame:
    """Return the rows of `products` that an expression takes; an empty one takes all.

    Raises:
        RowFilterError: The text is no such expression.
    """
    return products.where(parse_filter(text)) if text else products


def parse_filter(text: str) -> Column:
    """Return an expression as a condition over the columns of the table `products`.

    ``==  !=  <  <=  >  >=`` compare a field with a text or number, ``in [...]`` with several, ``"word" in field`` looks
    inside a text; ``and``, ``or``, ``not`` and brackets join them.

    Raises:
        RowFilterError: The text is no such expression.
    """
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise RowFilterError(f"the expression has {len(text):,} characters, more than {MAX_EXPRESSION_CHARACTERS:,}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _build_condition(tree.body)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        hint = "; compare with ==" if "=" in text and "==" not in text else ""
        raise RowFilterError(f"{text!r} cannot be read ({getattr(error, 'msg', None) or error}{hint})") from error


def _build_condition(node: ast.expr) -> Column:
    match node:
        case ast.BoolOp(op=ast.And()):
            return reduce(operator.and_, map(_build_condition, node.values))
        case ast.BoolOp(op=ast.Or()):
            return reduce(operator.or_, map(_build_condition, node.values))
        case ast.UnaryOp(op=ast.Not()):
            return ~_build_condition(node.operand)
        case ast.Compare():
            sides = [node.left, *node.comparators]
            return reduce(operator.and_, map(_build_comparison, sides[:-1], node.ops, sides[1:]))
    raise RowFilterError(f"{ast.unparse(node)!r} is no condition")


def _build_comparison(left: ast.expr, comparison: ast.cmpop, right: ast.expr) -> Column:
    if isinstance(comparison, ast.In):
        return _build_membership(left, right)
    if isinstance(comparison, ast.NotIn):
        return ~_build_membership(left, right)
    compare = COMPARISONS.get(type(comparison))
    if compare is None:
        raise RowFilterError(f"{type(comparison).__name__.lower()!r} is no comparison here")
    if isinstance(left, ast.Constant):  # 2 <= images
        field, kind = _read_field(right)
        return compare(F.lit(_read_value(left, kind)), field)
    field, kind = _read_field(left)
    return compare(field, F.lit(_read_value(right, kind)))


def _build_membership(left: ast.expr, right: ast.expr) -> Column:
    """Return the condition of ``field in [values]`` or ``"part" in field``."""
    if isinstance(right, ast.List | ast.Tuple):
        field, kind = _read_field(left)
        return field.isin([_read_value(item, kind) for item in right.elts])
    field, kind = _read_field(right)
    if kind is not str:
        raise RowFilterError(f"{ast.unparse(right)} is a number: nothing is in it")
    return field.contains(F.lit(_read_value(left, str)))


def _read_field(node: ast.expr) -> tuple[Column, type]:
    name = node.id if isinstance(node, ast.Name) else None
    if name in TEXT_FIELDS:
        return F.coalesce(TEXT_FIELDS[name](), F.lit("")), str
    if name in NUMBER_FIELDS:
        return NUMBER_FIELDS[name](), int
    raise RowFilterError(f"{ast.unparse(node)!r} is no field")


def _read_value(node: ast.expr, kind: type) -> str | int:
    value = node.value if isinstance(node, ast.Constant) else None
    if type(value) is not kind:  # a bool is an int to isinstance
        raise RowFilterError(f"{ast.unparse(node)!r} is no {'text in quotes' if kind is str else 'whole number'}")
    return value  # type: ignore[return-value]
