"""``moon check-source``: show an analyst how a catalogue would be read, and say in plain words what is wrong with it.

Reads the head of the catalogue and the headers of a few images; no Spark, no lake, nothing is written.
"""

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from jobs.catalog.head import CatalogHead, read_head
from jobs.catalog.records import ParsedRecord, guess_catalog_format
from jobs.catalog.suggest_mapping import NoMappingError, suggest_mapping
from jobs.errors import MoonError
from jobs.images.reading import read_image, read_image_version
from moon_model.images import IMAGE_FORMATS, BadImageError
from schemas.source import MappedRow, MappingError, SourceMapping, make_malformed_row, map_record
from schemas.source_values import as_text
from schemas.uri import folder_uri, is_under

CHECKED_RECORDS = 100
"""Records that are looked at."""

FindingLevel = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something worth saying; an "error" means that a night cannot use the catalogue like this."""

    level: FindingLevel
    text: str


@dataclass(frozen=True)
class ImageHeader:
    """An image as its header describes it: pixels and format, or `problem`, why it cannot be used."""

    uri: str
    width: int | None = None
    height: int | None = None
    format: str | None = None
    problem: str | None = None


@dataclass
class CheckResult:
    """Everything that was found.

    Attributes:
        catalog: what was asked for.
        head: the beginning of the catalogue; None when it could not be read.
        mapping_text: the suggested mapping (TOML); None when one was given or found.
        mapping_file: the mapping that was used; None when it is the suggested one.
        rows: the first rows as mapped, with their images.
        findings: errors first.
    """

    catalog: str
    head: CatalogHead | None = None
    mapping_text: str | None = None
    mapping_file: str | None = None
    rows: list[tuple[MappedRow, list[ImageHeader]]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_usable(self) -> bool:
        """Whether a night could use the catalogue."""
        return all(finding.level != "error" for finding in self.findings)

    def say(self, level: FindingLevel, text: str) -> None:
        """Add a finding, errors before warnings before notes."""
        self.findings.append(Finding(level, text))
        self.findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.level))


def check_source(
    catalog: str, mapping_file: str | None = None, *, allowed_roots: Sequence[str] = (), max_rows: int = 5
) -> CheckResult:
    """Look at a catalogue.

    Args:
        catalog: file, folder, glob or URI; ``{date}`` stands for the latest there is.
        mapping_file: mapping to use; None: mapping.toml beside the catalogue or one folder above, else a suggestion.
        allowed_roots: where images may come from; empty: the mapping's image base.
        max_rows: rows to show with the pixel sizes of their images.
    """
    check = CheckResult(catalog)
    try:
        given = _find_mapping(catalog, mapping_file)
        mapping = SourceMapping.load(given) if given is not None else None
        check.mapping_file = None if given is None else str(given)
        check.head = read_head(catalog, CHECKED_RECORDS, mapping.format if mapping else "auto")
        folder = _folder(check.head.files[0] if "{date}" in catalog else catalog)
        if mapping is None:
            check.mapping_text = _suggest(check.head, folder)
            mapping = SourceMapping.parse(check.mapping_text)
    except (MoonError, MappingError, NoMappingError) as error:
        check.say("error", str(error))
        return check
    _check_files(check, check.head)
    if _check_columns(check, check.head, mapping):
        base = mapping.resolve_image_base(folder)
        roots = tuple(folder_uri(root) for root in allowed_roots) or (base,)
        rows = [_map_record(parsed, mapping, base) for parsed in check.head.records]
        check.rows = [(row, [read_image_header(image.uri, roots) for image in row.images]) for row in rows[:max_rows]]
        _check_rows(check, rows)
        _check_snapshot(check, check.head, mapping)
        _check_images(check, rows, roots, mapping)
    return check


def read_image_header(uri: str, roots: tuple[str, ...]) -> ImageHeader:
    """Return what an image's header says; nothing is decoded."""
    try:
        with Image.open(io.BytesIO(read_image(uri, roots)), formats=IMAGE_FORMATS) as image:
            return ImageHeader(uri, *image.size, image.format)
    except BadImageError as error:
        return ImageHeader(uri, problem=f"{error.reason}: {error.detail}")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, ImportError) as error:
        return ImageHeader(uri, problem=f"image_unreadable: {' '.join(str(error).split())[:200]}")


def _find_mapping(catalog: str, mapping_file: str | None) -> Path | None:
    """Return the mapping that was named, else one that lies where a night would look for it."""
    if mapping_file is not None:
        return Path(mapping_file)
    if "://" in catalog:
        return None
    folder = Path(_folder(catalog))
    candidates = (folder / "mapping.toml", folder.parent / "mapping.toml")
    return next((path for path in candidates if path.is_file()), None)


def _folder(catalog: str) -> str:
    """Return the folder of a catalogue, as the pull stage takes it."""
    from jobs.catalog.source import catalog_folder  # noqa: PLC0415  imports Spark's names, which takes half a second

    return catalog_folder(catalog if "://" in catalog else str(Path(catalog).absolute()))


def _suggest(head: CatalogHead, folder: str) -> str:
    records = [parsed.record for parsed in head.records if parsed.record is not None]
    return suggest_mapping(head.columns, records, None if "://" in folder else Path(folder))


def _map_record(parsed: ParsedRecord, mapping: SourceMapping, base: str) -> MappedRow:
    if parsed.record is None:
        return make_malformed_row(parsed.error or "unreadable")
    return map_record(parsed.record, mapping, base)


def _check_files(check: CheckResult, head: CatalogHead) -> None:
    kinds = sorted({str(guess_catalog_format(name)) for name in head.files})
    if len(kinds) > 1:
        check.say("error", f"files of several formats ({', '.join(kinds)}): name files of one format, with a glob")
    if head.duplicate_columns:
        check.say("error", f"the heading names {', '.join(head.duplicate_columns)} more than once; rename one of them")
    if not head.records:
        check.say("error", f"{head.files[0]} has no records")
    extent = f"all {len(head.records)}" if head.whole else f"the first {len(head.records)}"
    more = f" ({len(head.files)} files)" if len(head.files) > 1 else ""
    check.say("note", f"read {extent} records of {head.files[0]}{more} as {head.format}")


def _check_columns(check: CheckResult, head: CatalogHead, mapping: SourceMapping) -> bool:
    """Say which mapped columns are not there; return whether the rows can be mapped all the same."""
    missing = mapping.find_missing_columns(head.columns)
    for name, near in missing.items():
        hint = f"; did you mean {near!r}?" if near else ""
        needed = name in (mapping.id, mapping.title) or head.format in ("csv", "parquet")
        text = f"the mapping names the column {name!r}, which the catalogue does not have{hint}"
        check.say("error" if needed else "warning", text)
    unused = [name for name in head.columns if name not in mapping.list_columns()]
    if unused:
        check.say("note", f"columns that are not used: {', '.join(unused)}")
    if mapping.images is None:
        check.say("error", "the mapping says nothing of images; a product without images is refused (no_image)")
    return mapping.id not in missing and mapping.title not in missing


def _check_rows(check: CheckResult, rows: list[MappedRow]) -> None:
    """Say which rows a night would refuse, and why."""
    blank: Callable[[str | None], bool] = lambda text: not (text or "").strip()  # noqa: E731
    read = [row for row in rows if row.row_error is None]
    _count(check, "cannot be read", rows, [row.row_error for row in rows])
    _count(check, "have no product id", read, [blank(row.product_id) for row in read])
    _count(check, "have no title", read, [blank(row.title) for row in read])
    _count(check, "have attributes that are no map", read, [row.attributes_error for row in read])
    _count(check, "name no image", read, [not row.images for row in read])
    ids = Counter(row.product_id for row in read if not blank(row.product_id))
    twice = [product_id for product_id, count in ids.items() if count > 1]
    if twice:
        check.say(
            "warning",
            f"{len(twice)} product ids occur more than once, such as {twice[0]!r}; the later rows are refused",
        )
    if read and all(str(row.product_id).endswith(".0") for row in read):
        check.say("warning", f"product ids read like {read[0].product_id!r}: the source stores them as decimal numbers")


def _check_snapshot(check: CheckResult, head: CatalogHead, mapping: SourceMapping) -> None:
    """Say which dates the snapshot column holds; a night takes the rows of one."""
    if mapping.snapshot is None:
        return
    values = [as_text(parsed.record.get(mapping.snapshot)) for parsed in head.records if parsed.record is not None]
    days = sorted({value.strip()[:10] for value in values if value and value.strip()})
    if days:
        shown = ", ".join(days[:5]) + (", …" if len(days) > 5 else "")
        check.say("note", f"the snapshot column {mapping.snapshot!r} holds {shown}; a night takes the rows of its date")
    empty = sum(not (value or "").strip() for value in values)
    if empty:
        level: FindingLevel = "error" if empty == len(values) else "warning"
        check.say(level, f"the snapshot column {mapping.snapshot!r} is empty in {empty} of {len(values)} records")


def _count(check: CheckResult, what: str, rows: list[MappedRow], faults: Sequence[Any]) -> None:
    found = [fault for fault in faults if fault]
    if found:
        detail = f": {found[0]}" if isinstance(found[0], str) else ""
        everywhere = len(found) == len(rows)
        check.say("error" if everywhere else "warning", f"{len(found)} of {len(rows)} records {what}{detail}")


def _check_images(check: CheckResult, rows: list[MappedRow], roots: tuple[str, ...], mapping: SourceMapping) -> None:
    """Say how many images lie outside the roots, are not there, or cannot be opened."""
    uris = [image.uri for row in rows for image in row.images]
    outside = [uri for uri in uris if not is_under(uri, roots)]
    inside = [uri for uri in uris if is_under(uri, roots)]
    if outside:
        level: FindingLevel = "error" if len(outside) == len(uris) else "warning"
        where = ", ".join(roots)
        check.say(level, f"{len(outside)} of {len(uris)} images lie outside {where}, such as {outside[0]}; "
                         "set images.base in the mapping, or MOON_ALLOWED_ROOTS")  # fmt: skip
    absent = [uri for uri in inside if uri.startswith("file://") and read_image_version(uri, roots) is None]
    if absent:
        level = "error" if len(absent) == len(uris) else "warning"
        check.say(level, f"{len(absent)} of {len(uris)} images are not there, such as {absent[0]}")
    for _, thumbnails in check.rows:
        for image in thumbnails:
            if image.problem and image.uri in inside and image.uri not in absent:
                check.say("warning", f"{image.uri}: {image.problem}")
    if mapping.images and mapping.images.version_column is None and any("://" in u and u not in absent for u in inside):
        check.say("note", "no images.version_column: a changed image is noticed by its size and time")
