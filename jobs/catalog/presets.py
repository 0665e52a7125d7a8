"""Returns complete mappings for exports of known shop platforms, which are recognised by their columns.

A preset names only columns that the catalogue has. Columns are compared without case and punctuation, and without the
prefix ``g:`` of Google's feeds, since platforms and spreadsheets write them differently.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.catalog.samples import SampleRecord, find_image_base, list_values, quote_list, quote_toml
from schemas.source_values import as_link, as_list, as_text, parse_attributes

MERCHANT_ATTRIBUTES = ("brand", "color", "size", "gender", "age_group", "material", "pattern", "condition")
MAGENTO_MEDIA = ("media/catalog/product", "pub/media/catalog/product")
"""Where a Magento shop keeps the photos that its export names."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class PresetMapping:
    """A mapping in two parts, each a list of TOML lines.

    Attributes:
        lines: The keys before the first table, after a comment that names the platform.
        images: The keys of the table images; empty without images.
    """

    lines: list[str]
    images: list[str]


class _Export:
    """The columns and first records of a catalogue; columns are asked for by `_fold_name`."""

    def __init__(self, columns: Sequence[str], records: Sequence[SampleRecord], folder: Path | None) -> None:
        self.columns: dict[str, str] = {}
        for column in columns:
            self.columns.setdefault(_fold_name(column), column)
        self.records = records
        self.folder = folder

    def has(self, *names: str) -> bool:
        return all(name in self.columns for name in names)

    def select(self, *names: str) -> list[str]:
        """Return the columns with these names that the catalogue has."""
        return [self.columns[name] for name in names if name in self.columns]

    def list_texts(self, column: str) -> list[str]:
        return [as_text(value) or "" for value in list_values(column, self.records)]

    def choose_fuller(self, *names: str) -> str | None:
        """Return the first column with at least half as many values as the fullest one; None if there is none."""
        counts = {column: len(list_values(column, self.records)) for column in self.select(*names)}
        most = max(counts.values(), default=0)
        return next((column for column, count in counts.items() if count * 2 >= most), None)


def find_preset(columns: Sequence[str], records: Sequence[SampleRecord], folder: Path | None) -> PresetMapping | None:
    """Return the mapping of the platform whose export has these columns; None for no known platform.

    Args:
        columns: The source's columns.
        records: The first records.
        folder: The catalogue's folder; None for a remote catalogue.
    """
    export = _Export(columns, records, folder)
    return next((build(export) for fits, build in _PRESETS if fits(export)), None)


def _fold_name(column: str) -> str:
    """Return a column's name in lower case, with one underscore for everything between its words."""
    return re.sub(r"[\W_]+", "_", column.strip().lower().removeprefix("g:")).strip("_")


def _is_shopify(export: _Export) -> bool:
    return export.has("handle", "title", "image_src") and (
        export.has("body_html") or export.has("option1_name") or export.has("vendor")
    )


def _map_shopify(export: _Export) -> PresetMapping:
    lines = [
        "# Recognised: Shopify's product export. All rows of a handle are one product.",
        *_name_texts(export, None, "title", export.choose_fuller("body_html")),
    ]
    category = export.choose_fuller("product_category", "standardized_product_type", "type", "custom_product_type")
    # Only Shopify's own taxonomy is a path; a product type is free text of the merchant.
    is_path = category in export.select("product_category", "standardized_product_type")
    lines += _name_category(category, ">" if is_path else None)
    named = {"brand": "vendor", "type": "type"}
    options = [(f"option{n}_name", f"option{n}_value") for n in range(1, 10)]
    # For a product without variants Shopify writes this as the only value of the option Title.
    lines += _name_attributes(export, named, options, ignore=["Default Title"])
    lines.append(f"product = {{ key = {quote_toml(export.columns['handle'])} }}")
    lines += _name_condition(export, {"published": "true", "status": "active"})
    return PresetMapping(lines, _name_images(export, export.select("image_src"), None))


def _is_spree(export: _Export) -> bool:
    return export.has("slug", "sku", "name", "status") and (
        export.has("image1_src") or export.has("category1") or export.has("option1_name")
    )


def _map_spree(export: _Export) -> PresetMapping:
    lines = ["# Recognised: Spree's product export. All rows of a slug are one product."]
    lines += _name_texts(export, None, "name", export.choose_fuller("description"))
    lines += _name_category(export.choose_fuller("category1", "product_type"), "->")
    named = {name: name for name in ("brand", "product_type")}
    for folded in export.columns:
        # custom_field.custom.noise_level is the field noise_level of the namespace custom.
        if match := re.fullmatch(r"custom_field\.[^.]+\.(.+)", export.columns[folded]):
            named.setdefault(match[1], folded)
    lines += _name_attributes(export, named, [(f"option{n}_name", f"option{n}_value") for n in range(1, 10)])
    lines.append(f"product = {{ key = {quote_toml(export.columns['slug'])} }}")
    lines += _name_condition(export, {"status": "active"})
    photos = export.select(*(f"image{n}_src" for n in range(1, 100)))
    return PresetMapping(lines, _name_images(export, photos, None))


def _is_woocommerce(export: _Export) -> bool:
    return export.has("id", "type", "name", "published", "images") and export.has("categories")


def _map_woocommerce(export: _Export) -> PresetMapping:
    lines = ["# Recognised: WooCommerce's product export. Variations take what they lack from their parent."]
    lines += _name_texts(export, "id", "name", export.choose_fuller("description", "short_description"))
    lines += _name_category(export.columns["categories"], ">", ",")
    numbers = [match[1] for name in export.columns if (match := re.fullmatch(r"attribute_(\d+)_name", name))]
    pairs = [(f"attribute_{n}_name", f"attribute_{n}_value_s") for n in numbers]
    lines += _name_attributes(export, {"brand": "brands"}, pairs)
    if export.has("parent", "sku"):
        parent, key = export.select("parent", "sku")
        lines.append(f"parent = {{ column = {quote_toml(parent)}, key = {quote_toml(key)} }}")
    lines.append(f"where = {quote_toml(_quote_name(export.columns['published']) + ' == 1')}")
    return PresetMapping(lines, _name_images(export, export.select("images"), ","))


def _is_magento(export: _Export) -> bool:
    known = ("attribute_set_code", "product_type", "product_websites", "additional_attributes", "categories",
             "base_image", "additional_images", "product_online")  # fmt: skip
    return export.has("sku", "name") and len(export.select(*known)) >= 3


def _map_magento(export: _Export) -> PresetMapping:
    # The rows of a store view repeat a product's SKU with the view's own texts: the first row is the default one.
    has_views = export.has("store_view_code")
    lines = ["# Recognised: Magento's product export (Adobe Commerce)."]
    lines += _name_texts(
        export, None if has_views else "sku", "name", export.choose_fuller("description", "short_description")
    )
    lines += _name_category(export.columns.get("categories"), "/", ",")
    for column in export.select("additional_attributes"):
        texts = export.list_texts(column)
        parsed = [parse_attributes(text, "pairs", pair=",", key="=", multi="|") for text in texts]
        # A comma in a value cannot be distinguished from the next attribute, so the row would be refused.
        if all(error is None for _, error in parsed):
            how = 'format = "pairs", pair_separator = ",", key_separator = "=", value_separator = "|"'
            lines.append(f"attributes = {{ column = {quote_toml(column)}, {how} }}")
        else:
            lines.append(f"# Not read: {quote_toml(column)}, since values with a comma in them would refuse rows.")
    if has_views:
        lines.append(f"product = {{ key = {quote_toml(export.columns['sku'])} }}")
    lines += [f"where = {quote_toml(_quote_name(column) + ' == 1')}" for column in export.select("product_online")]
    return PresetMapping(lines, _name_magento_images(export))


def _name_magento_images(export: _Export) -> list[str]:
    columns = export.select("base_image", "additional_images") or export.select("small_image", "image")
    first = next((text for column in columns[:1] for text in export.list_texts(column)), "")
    if not first.startswith("/") or first.startswith("//"):
        return _name_images(export, columns, ",")
    # Paths are below the shop's media folder: /m/b/mb01.jpg would otherwise start at the root of the disk.
    lines = [
        f"template = {quote_toml(f'.{{{columns[0]}}}')}  # the paths begin with / but mean the shop's media folder"
    ]
    for place in MAGENTO_MEDIA if export.folder else ():
        base = find_image_base(f"{place}{first}", Path(export.folder or "."))
        if (base / f"{place}{first}").is_file():
            return [*lines, f"base = {quote_toml(str(base / place))}"]
    if export.folder and (export.folder / first.lstrip("/")).is_file():
        return lines
    return [*lines, '# base = "https://shop.example/media/catalog/product"  # where the photos are, if not here']


def _is_merchant(export: _Export) -> bool:
    known = ("link", "availability", "price", "brand", "gtin", "mpn", "condition", "product_type",
             "google_product_category", "additional_image_link", "item_group_id")  # fmt: skip
    return export.has("id", "title", "image_link") and len(export.select(*known)) >= 3


def _map_merchant(export: _Export) -> PresetMapping:
    lines = ["# Recognised: a feed of Google Merchant Center."]
    lines += _name_texts(export, "id", "title", export.choose_fuller("description"))
    category = export.choose_fuller("product_type", "google_product_category")
    # A feed as XML repeats the element for several paths. Text is one path: names have commas in them.
    has_lists = category is not None and any(isinstance(v, list) for v in list_values(category, export.records))
    lines += _name_category(category, ">", "|" if has_lists else None)
    lines += _name_attributes(export, {name: name for name in MERCHANT_ATTRIBUTES}, [])
    photos = export.select("image_link", "additional_image_link")
    # The separator of additional photos would split an address with a comma: the main photo has priority.
    if any("," in text for value in list_values(photos[0], export.records) if isinstance(text := value, str)):
        photos = photos[:1]
    is_single = len(photos) == 1 and not any(isinstance(v, list) for v in list_values(photos[0], export.records))
    return PresetMapping(lines, _name_images(export, photos, None if is_single else ","))


def _name_texts(export: _Export, product_id: str | None, title: str, description: str | None) -> list[str]:
    lines = [f"id = {quote_toml(export.columns[product_id])}"] if product_id else []
    lines.append(f"title = {quote_toml(export.columns[title])}")
    return [*lines, f"description = {quote_toml(description)}"] if description else lines


def _name_category(column: str | None, separator: str | None, paths: str | None = None) -> list[str]:
    if column is None:
        return []
    if separator is None:
        return [f"category = {quote_toml(column)}"]
    more = f", paths = {quote_toml(paths)}" if paths else ""
    return [f"category = {{ column = {quote_toml(column)}, separator = {quote_toml(separator)}{more} }}"]


def _name_attributes(
    export: _Export, named: dict[str, str], pairs: Sequence[tuple[str, str]], ignore: Sequence[str] = ()
) -> list[str]:
    """Return the line of the attributes: `named` is attribute → column, `pairs` columns of name and value."""
    parts = []
    columns = {name: export.columns[column] for name, column in named.items() if export.has(column)}
    if columns:
        keys = ((name if _BARE_KEY.fullmatch(name) else quote_toml(name), column) for name, column in columns.items())
        parts.append(f"columns = {{ {', '.join(f'{key} = {quote_toml(column)}' for key, column in keys)} }}")
    if present := [quote_list(export.select(*pair)) for pair in pairs if export.has(*pair)]:
        parts.append(f"pairs = [{', '.join(present)}]")
        parts += [f"ignore = {quote_list(ignore)}"] if ignore else []
    return [f"attributes = {{ {', '.join(parts)} }}"] if parts else []


def _name_condition(export: _Export, wanted: dict[str, str]) -> list[str]:
    """Return the line of a condition: each existing column has its value, in the spelling of the records."""
    parts = []
    for name, value in wanted.items():
        for column in export.select(name):
            # A spreadsheet changes true to TRUE, and a condition compares texts exactly.
            found = sorted({text for text in export.list_texts(column) if text.strip().lower() == value}) or [value]
            texts = [f"'{text}'" for text in found]
            condition = f"== {texts[0]}" if len(texts) == 1 else f"in [{', '.join(texts)}]"
            parts.append(f"{_quote_name(column)} {condition}")
    return [f"where = {quote_toml(' and '.join(parts))}"] if parts else []


def _quote_name(column: str) -> str:
    return column if re.fullmatch(r"[A-Za-z_]\w*", column) else f"`{column}`"


def _name_images(export: _Export, columns: Sequence[str], separator: str | None) -> list[str]:
    if not columns:
        return []
    lines = [f"column = {quote_toml(columns[0])}" if len(columns) == 1 else f"columns = {quote_list(columns)}"]
    lines += [f"separator = {quote_toml(separator)}"] if separator else []
    values = list_values(columns[0], export.records)
    link = as_link(next(iter(as_list(values[0], separator)), None)) if values else None
    if export.folder is None or not link or "://" in link or link.startswith("/"):
        return lines
    base = find_image_base(link.strip(), export.folder)
    return lines if base == export.folder else [*lines, f"base = {quote_toml(str(base))}"]


_PRESETS: tuple[tuple[Callable[[_Export], bool], Callable[[_Export], PresetMapping]], ...] = (
    (_is_shopify, _map_shopify),
    (_is_spree, _map_spree),
    (_is_woocommerce, _map_woocommerce),
    (_is_merchant, _map_merchant),
    (_is_magento, _map_magento),
)
"""The first one that fits is taken."""
