"""The source mapping: a TOML file, written by an analyst, that gives the meaning of a catalogue's columns.

`docs/mapping.md` has examples; `moon check-source` suggests a mapping.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)

from schemas.conditions import Condition, list_fields, parse_condition
from schemas.mapping_errors import (
    check_condition,
    check_encoding,
    check_exactly_one,
    check_pair,
    check_root,
    explain_findings,
)
from schemas.payload import PayloadColumn, PayloadName
from schemas.source_values import AttributesFormat
from schemas.uri import folder_uri

SourceFormat = Literal["auto", "parquet", "jsonl", "json", "csv", "xml"]
ColumnName = Annotated[str, StringConstraints(min_length=1)]
Separator = Annotated[str, StringConstraints(min_length=1)]

PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class MappingError(ValueError):
    """A mapping that cannot be used; each line of the message names a key of the file and how to correct it."""


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class CategoryMapping(_StrictModel):
    """Source of the category: one column (a path, cut at `separator`), or one column for each level, root first.

    `paths` separates several paths in the column; the most specific one counts.
    """

    column: ColumnName | None = None
    separator: Separator | None = None
    paths: Separator | None = None
    columns: list[ColumnName] | None = None

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        check_exactly_one(self, "column", "columns")
        if self.columns is not None and self.separator is not None:
            raise ValueError("separator belongs to column, not to columns")
        if self.columns is not None and self.paths is not None:
            raise ValueError("paths belongs to column, not to columns")
        return self


class AttributesMapping(_StrictModel):
    """Source of the attributes: several columns (a list, or a table name = "column"), or one column that holds a map.

    `pairs` are pairs of columns, one with the name and one with the value; they may be used together with `columns`.
    `ignore` lists values without information, such as Shopify's "Default Title": attributes of columns or pairs with
    such a value are left out. A text column of `format` "pairs" is cut at `pair_separator`, `key_separator` and
    `value_separator`.
    """

    columns: list[ColumnName] | dict[str, ColumnName] | None = None
    column: ColumnName | None = None
    pairs: list[Annotated[list[ColumnName], AfterValidator(check_pair)]] | None = None
    ignore: list[str] | None = None
    format: AttributesFormat = "auto"
    pair_separator: Separator = ",,"
    key_separator: Separator = ":"
    value_separator: Separator = "!!!"

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if self.pairs is None:
            check_exactly_one(self, "column", "columns", "pairs")
        elif self.column is not None:
            raise ValueError("pairs may stand beside columns, not beside column")
        if self.ignore is not None and self.column is not None:
            raise ValueError("ignore belongs to columns and pairs, not to column")
        return self

    @property
    def named_columns(self) -> dict[str, str]:
        """Attribute name → column, empty when one column holds them all."""
        if isinstance(self.columns, dict):
            return dict(self.columns)
        return {column: column for column in self.columns or ()}


class ImagesMapping(_StrictModel):
    """Source of the images: a column (a list, or text cut at `separator`), several columns, or a `template` of columns.

    `base` is the folder or URI from which relative paths start; it is itself relative to the mapping file. The default
    is the catalogue's folder. `version_column` holds a value that changes when the image's bytes change. `roots` are
    folders or hosts, in addition to `base`, from which images may come.
    """

    column: ColumnName | None = None
    separator: Separator | None = None
    columns: list[ColumnName] | None = None
    template: Annotated[str, StringConstraints(min_length=1)] | None = None
    base: Annotated[str, StringConstraints(min_length=1)] | None = None
    roots: list[Annotated[str, StringConstraints(min_length=1), AfterValidator(check_root)]] | None = None
    version_column: ColumnName | None = None
    version_separator: Separator | None = None

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        check_exactly_one(self, "column", "columns", "template")
        if self.template is not None and not PLACEHOLDER.search(self.template):
            raise ValueError('template names no column; write one in braces, such as "Pics/{Id}.webp"')
        return self

    def resolve_places(self, folder: Path) -> Self:
        """Return a copy with `base` and `roots` as canonical URIs; relative ones start from the folder."""
        places = [
            folder_uri(one if "://" in one else str(folder / one)) for one in (self.base, *(self.roots or ())) if one
        ]
        base, roots = (places[0], places[1:]) if self.base else (None, places)
        return self.model_copy(update={"base": base, "roots": roots if self.roots is not None else None})


class ProductMapping(_StrictModel):
    """The column that makes several rows one product: rows with the same `key` are one product, whose id is the key."""

    key: ColumnName


class ParentMapping(_StrictModel):
    """The parent of a variant, which fills the variant's missing values: the row whose `key` is the value of `column`.

    `id` is the column to which a reference such as ``id:123`` refers; the default is the mapping's id.
    """

    column: ColumnName
    key: ColumnName
    id: ColumnName | None = None


def _expand_product(value: Any) -> Any:
    """Return ``{ key = "Handle" }`` for the short form ``"Handle"``."""
    return {"key": value} if isinstance(value, str) else value


def _expand_short_form(value: Any) -> Any:
    """Return ``{ column = "Type" }`` for the short form ``"Type"``, and `columns` for a list."""
    if isinstance(value, str):
        return {"column": value}
    return {"columns": value} if isinstance(value, list) else value


def _expand_payload(value: Any) -> Any:
    """Return the payload with ``{ column = "Colour" }`` for each short form ``"Colour"``."""
    if not isinstance(value, dict):
        return value
    return {name: {"column": one} if isinstance(one, str) else one for name, one in value.items()}


class SourceMapping(_StrictModel):
    """Meaning of each column of a catalogue. Column names are exactly those of the source.

    Attributes:
        format: format of the files; "auto" recognises it by their names.
        delimiter: separator of the fields of CSV; None: recognised from the header line.
        encoding: encoding of CSV and JSON files, such as cp1252; None is UTF-8.
        id, title: columns that every catalogue must have; with `product` the id is its key.
        description, category, attributes, images: optional; without a mapping they are empty.
        snapshot: column with the snapshot's date; a run leaves out the rows of other dates.
        product: the column that makes several rows one product.
        parent: the row from which a variant's missing values are filled.
        payload: values that are served and filtered by but never reach the model.
        where: condition on columns (`schemas.conditions`); a run leaves out products that do not meet it.
    """

    format: SourceFormat = "auto"
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = None
    encoding: Annotated[str, AfterValidator(check_encoding)] | None = None
    id: ColumnName
    title: ColumnName
    description: ColumnName | None = None
    category: Annotated[CategoryMapping | None, BeforeValidator(_expand_short_form)] = None
    attributes: Annotated[AttributesMapping | None, BeforeValidator(_expand_short_form)] = None
    images: Annotated[ImagesMapping | None, BeforeValidator(_expand_short_form)] = None
    snapshot: ColumnName | None = None
    product: Annotated[ProductMapping | None, BeforeValidator(_expand_product)] = None
    parent: ParentMapping | None = None
    where: Annotated[str, AfterValidator(check_condition)] | None = None
    payload: Annotated[dict[PayloadName, PayloadColumn] | None, BeforeValidator(_expand_payload)] = None

    @model_validator(mode="before")
    @classmethod
    def _take_id_from_product(cls, data: Any) -> Any:
        """Use the key of `product` as the id column."""
        product = _expand_product(data.get("product")) if isinstance(data, dict) else None
        if isinstance(product, dict) and "key" in product and "id" not in data:
            return {**data, "id": product["key"]}
        return data

    @model_validator(mode="after")
    def _check_product(self) -> Self:
        if self.product is not None and self.id != self.product.key:
            raise ValueError(
                f"the id of a product of several rows is its key: leave out id = {self.id!r}, or leave out product to "
                "keep each row a product of its own"
            )
        return self

    @property
    def condition(self) -> Condition | None:
        """`where` as data; None without one."""
        return parse_condition(self.where) if self.where is not None else None

    @cached_property
    def kept_columns(self) -> tuple[str, ...] | None:
        """Columns whose values a row of `snapshots` keeps for `schemas.merging`; None: rows are not merged."""
        if self.product is None and self.parent is None and self.where is None:
            return None
        names = list_fields(condition) if (condition := self.condition) else []
        if self.parent:
            names += [self.parent.column, self.parent.key, self.parent.id or self.id]
        if self.product and self.attributes:
            names += [column for pair in self.attributes.pairs or () for column in pair]
        return tuple(dict.fromkeys(names))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a mapping file; relative `images.base` and `images.roots` become absolute, relative to the file.

        Raises:
            MappingError: the file is missing, is not TOML, or has unknown keys or wrong values.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise MappingError(
                f"cannot read the mapping {path}: {error.strerror}; `moon check-source --catalog … --out {path}` "
                "writes one"
            ) from error
        except UnicodeDecodeError as error:
            raise MappingError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
        mapping = cls.parse(text, name=str(path))
        if mapping.images is None:
            return mapping
        return mapping.model_copy(update={"images": mapping.images.resolve_places(path.parent.absolute())})

    @classmethod
    def parse(cls, text: str, name: str = "the mapping") -> Self:
        """Read a mapping from TOML text.

        Args:
            text: content of a mapping file.
            name: name of the file in error messages.

        Raises:
            MappingError: the text is not TOML, or has unknown keys or wrong values.
        """
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise MappingError(f"{name} is no valid TOML: {error}") from error
        except ValidationError as error:
            raise MappingError("\n".join([f"{name} cannot be used:", *explain_findings(error, _TABLES)])) from error

    def resolve_image_base(self, catalog_folder: str) -> str:
        """Return the canonical URI from which relative image paths start.

        Args:
            catalog_folder: path or URI of the catalogue's folder, used where `images.base` is not set.
        """
        if self.images is not None and self.images.base is not None:
            return folder_uri(self.images.base)
        return folder_uri(catalog_folder)

    def resolve_image_roots(self, catalog_folder: str) -> tuple[str, ...]:
        """Return the canonical URIs of the allowed folders and hosts of images: the base and `images.roots`.

        Args:
            catalog_folder: path or URI of the catalogue's folder, used where `images.base` is not set.
        """
        roots = map(folder_uri, (self.images.roots if self.images else None) or ())
        return tuple(dict.fromkeys([self.resolve_image_base(catalog_folder), *roots]))

    def list_columns(self) -> list[str]:
        """Return every source column the mapping reads, each once, in the order of the mapping."""
        names: list[str | None] = [self.id, self.title, self.description, self.snapshot]
        if self.category:
            names += [self.category.column, *(self.category.columns or ())]
        if self.attributes:
            names += [self.attributes.column, *self.attributes.named_columns.values()]
            names += [column for pair in self.attributes.pairs or () for column in pair]
        if self.images:
            names += [self.images.column, *(self.images.columns or ()), self.images.version_column]
            names += PLACEHOLDER.findall(self.images.template or "")
        if self.parent:
            names += [self.parent.column, self.parent.key, self.parent.id]
        if condition := self.condition:
            names += list_fields(condition)
        names += [one.column for one in (self.payload or {}).values()]
        return list(dict.fromkeys(name for name in names if name is not None))

    def find_missing_columns(self, available: Iterable[str]) -> dict[str, str | None]:
        """Return the mapped columns that the source lacks, each with its most similar column or None."""
        known = list(available)
        lower = {name.strip().lower(): name for name in known}
        missing = {}
        for name in self.list_columns():
            if name not in known:
                near = difflib.get_close_matches(name.strip().lower(), lower, n=1, cutoff=0.7)
                missing[name] = lower[near[0]] if near else None
        return missing


_TABLES: Mapping[str, type[BaseModel]] = {
    "": SourceMapping, "category": CategoryMapping, "attributes": AttributesMapping, "images": ImagesMapping,
    "product": ProductMapping, "parent": ParentMapping,
}  # fmt: skip
