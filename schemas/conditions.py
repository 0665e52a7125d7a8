"""Conditions over named fields: ``where`` of a mapping and ``--where`` of a command, parsed and evaluated.

Python's parser reads the text, and only listed types of nodes are accepted. The result is plain data; a user's text is
never executed. The syntax is that of a Milvus filter (docs/decisions/0038-row-filter.md). A name that is not an
identifier, such as a column with a space, is written in backticks.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_EXPRESSION_CHARACTERS = 2000
MAX_DEPTH = 100
"""Levels of ``not``, ``and`` and ``or`` inside each other; Spark's analyser fails at some hundreds."""

MAX_INTEGER = 2**63 - 1
"""The largest whole number that Spark and Milvus compare with."""

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?P<name>[^`]+)`""")
_PLACEHOLDER = "_quoted_name_"
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")

Value = str | int | float


class ConditionError(ValueError):
    """The text is not a valid condition; the message says what is wrong."""


@dataclass(frozen=True)
class Comparison:
    """A field compared with a value by an operator of `COMPARISONS`."""

    field: str
    operator: str
    value: Value


@dataclass(frozen=True)
class OneOf:
    """A field that equals one of several values."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Contains:
    """A field whose text contains a given part."""

    field: str
    part: str


@dataclass(frozen=True)
class Negation:
    """The opposite of a condition."""

    condition: "Condition"


@dataclass(frozen=True)
class Junction:
    """Several conditions, of which all (`needs_all`) or at least one must hold."""

    conditions: tuple["Condition", ...]
    needs_all: bool


Condition = Comparison | OneOf | Contains | Negation | Junction


def parse_condition(text: str, fields: Mapping[str, type] | None = None) -> Condition:
    """Return a condition as data.

    ``==  !=  <  <=  >  >=`` compare a field with a text or number, ``in [...]`` compares it with several, and
    ``"word" in field`` searches in a text. ``and``, ``or``, ``not`` and brackets combine conditions.

    Args:
        text: the condition.
        fields: the allowed fields with the type of their values (str or int); None: columns of a source, which may
            have any name and compare with texts and with numbers.

    Raises:
        ConditionError: the text is not a valid condition.
    """
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise ConditionError(f"the expression has {len(text):,} characters, more than {MAX_EXPRESSION_CHARACTERS:,}")
    names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match["name"] is None:  # in a quoted text a backtick is an ordinary character
            return match[0]
        names.append(match["name"])
        return f"{_PLACEHOLDER}{len(names) - 1}"

    try:
        tree = ast.parse(_QUOTED.sub(replace, text).strip(), mode="eval")
        return _Reader(names, fields).read(tree.body)
    except ConditionError:
        raise
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        hint = "; compare with ==" if "=" in text and "==" not in text else ""
        raise ConditionError(f"{text!r} cannot be read ({getattr(error, 'msg', None) or error}{hint})") from error


def list_fields(condition: Condition) -> list[str]:
    """Return the fields that a condition names, each once, in the order of the condition."""
    return list(dict.fromkeys(_iterate_fields(condition)))


def evaluate_condition(condition: Condition, values: Mapping[str, str | None]) -> bool:
    """Return whether a condition holds.

    Args:
        condition: condition over columns of a source.
        values: text by column; an absent column has the empty text. In a comparison with a number the text is read as
            a number; a text that is not a number is unequal to every number.
    """
    match condition:
        case Comparison(field, name, value):
            return _compare(values.get(field) or "", name, value)
        case OneOf(field, allowed):
            return any(_compare(values.get(field) or "", "==", value) for value in allowed)
        case Contains(field, part):
            return part in (values.get(field) or "")
        case Negation(inner):
            return not evaluate_condition(inner, values)
        case Junction(conditions, needs_all):
            found = (evaluate_condition(inner, values) for inner in conditions)
            return all(found) if needs_all else any(found)


def _compare(text: str, name: str, value: Value) -> bool:
    if isinstance(value, str):
        return bool(COMPARISONS[name](text, value))
    number = _NUMBER.fullmatch(text.strip())
    return bool(COMPARISONS[name](float(number[0]), value)) if number else name == "!="


def _iterate_fields(condition: Condition) -> Iterator[str]:
    match condition:
        case Negation(inner):
            yield from _iterate_fields(inner)
        case Junction(conditions):
            for inner in conditions:
                yield from _iterate_fields(inner)
        case Comparison(field) | OneOf(field) | Contains(field):
            yield field


@dataclass(frozen=True)
class _Reader:
    """Converts the nodes of Python's syntax tree to a condition.

    Attributes:
        names: the names in backticks; their placeholders contain the index.
        fields: as for `parse_condition`.
    """

    names: list[str]
    fields: Mapping[str, type] | None

    def read(self, node: ast.expr, depth: int = 0) -> Condition:
        if depth > MAX_DEPTH:
            raise ConditionError(f"the expression is nested more than {MAX_DEPTH} levels deep")
        match node:
            case ast.BoolOp():
                conditions = tuple(self.read(value, depth + 1) for value in node.values)
                return Junction(conditions, isinstance(node.op, ast.And))
            case ast.UnaryOp(op=ast.Not()):
                return Negation(self.read(node.operand, depth + 1))
            case ast.Compare():
                sides = [node.left, *node.comparators]
                found = tuple(map(self._read_comparison, sides[:-1], node.ops, sides[1:]))
                return found[0] if len(found) == 1 else Junction(found, needs_all=True)
        raise ConditionError(f"{self._show(node)} is no condition")

    def _read_comparison(self, left: ast.expr, comparison: ast.cmpop, right: ast.expr) -> Condition:
        if isinstance(comparison, ast.In):
            return self._read_membership(left, right)
        if isinstance(comparison, ast.NotIn):
            return Negation(self._read_membership(left, right))
        name = _OPERATORS.get(type(comparison))
        if name is None:
            raise ConditionError(f"{type(comparison).__name__.lower()!r} is no comparison here")
        if _is_constant(left):  # 2 <= images
            field, kind = self._read_field(right)
            return Comparison(field, _MIRRORED[name], self._read_value(left, kind))
        field, kind = self._read_field(left)
        return Comparison(field, name, self._read_value(right, kind))

    def _read_membership(self, left: ast.expr, right: ast.expr) -> Condition:
        """Return ``field in [values]`` or ``"part" in field``."""
        if isinstance(right, ast.List | ast.Tuple):
            field, kind = self._read_field(left)
            return OneOf(field, tuple(self._read_value(item, kind) for item in right.elts))
        field, kind = self._read_field(right)
        if kind is int:
            raise ConditionError(f"{field} is a number: nothing is in it")
        return Contains(field, str(self._read_value(left, str)))

    def _read_field(self, node: ast.expr) -> tuple[str, type | None]:
        """Return a field and its type; the type is None for a column, which compares with texts and numbers."""
        if isinstance(node, ast.Name):
            number = node.id.removeprefix(_PLACEHOLDER)
            is_quoted = node.id != number and number.isdecimal() and int(number) < len(self.names)
            name = self.names[int(number)] if is_quoted else node.id
            if self.fields is None:
                return name, None
            if name in self.fields:
                return name, self.fields[name]
        raise ConditionError(f"{self._show(node)} is no field")

    def _read_value(self, node: ast.expr, kind: type | None) -> Value:
        is_negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inner = node.operand if isinstance(node, ast.UnaryOp) and is_negative else node
        value = inner.value if isinstance(inner, ast.Constant) else None
        # A bool is an int to isinstance.
        if type(value) not in ((str, int, float) if kind is None else (kind,)) or (is_negative and type(value) is str):
            wanted = {str: "text in quotes", int: "whole number"}.get(kind or object, "text in quotes or number")
            raise ConditionError(f"{self._show(node)} is no {wanted}")
        if isinstance(value, int) and value > MAX_INTEGER:
            raise ConditionError(f"{self._show(node)} is larger than {MAX_INTEGER:,}")
        return -value if is_negative else value  # type: ignore[operator, return-value]

    def _show(self, node: ast.expr) -> str:
        text = re.sub(f"{_PLACEHOLDER}(\\d+)", self._restore_name, ast.unparse(node))
        return repr(text)

    def _restore_name(self, match: re.Match[str]) -> str:
        number = int(match[1])
        return f"`{self.names[number]}`" if number < len(self.names) else match[0]


def _is_constant(node: ast.expr) -> bool:
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)
