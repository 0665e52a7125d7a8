"""``moon check-source``: how a run would read a catalogue, which rows it would refuse and why.

Reads the first records of the catalogue and the headers of a few images; no Spark, no lake, nothing is written.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from jobs.catalog.head import CatalogHead, read_head
from jobs.catalog.mapping import catalog_folder, list_mapping_files, map_parsed_record
from jobs.catalog.model_limits import describe_cuts
from jobs.catalog.records import ParsedRecord
from jobs.catalog.suggest_mapping import NoMappingError, suggest_mapping
from jobs.errors import MoonError
from jobs.images.fetcher import make_policy
from jobs.images.reading import read_image_version
from jobs.operations.check_photos import ImageHeader, describe_first_fetch, read_image_header, read_image_headers
from jobs.settings import Settings
from schemas.merging import MergeRules, NumberedRow, build_merge_rules, merge_snapshot
from schemas.source import MappedRow, MappingError, SourceMapping
from schemas.source_values import as_text
from schemas.uri import folder_uri, is_under, is_web
from validation.breakers import Breaker
from validation.reasons import Reason
from validation.rules import Refusal, RowLimits, find_refusals

CHECKED_RECORDS = 100
"""Records that are read."""

REMEDIES = {Reason.FORBIDDEN_URI: "; set images.base or images.roots in the mapping, or MOON_ALLOWED_ROOTS"}
"""What to do about refusals for a reason, where the detail does not say it."""

FindingLevel = Literal["error", "warning", "note"]
LEVELS: tuple[FindingLevel, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """A remark for the analyst; an "error" means that a run cannot use the catalogue as it is."""

    level: FindingLevel
    text: str


@dataclass
class CheckResult:
    """Everything that was found.

    Attributes:
        catalog: The catalogue as it was named.
        head: The beginning of the catalogue; None when it could not be read.
        mapping_text: The suggested mapping (TOML); None when a mapping was named or found.
        mapping_file: The mapping that was used; None when it is the suggested one.
        rows: The first rows as mapped, with their images.
        refusals: All rows that a run would refuse, of those that were read.
        findings: Errors first, then warnings, then notes.
        judged: Products of the rows that were read: those that a run serves or refuses.
        left_out: Rows of the products that `where` leaves out.
        has_tripped: Whether so many would be refused that a run stops, unless it is the first of a collection.
    """

    catalog: str
    head: CatalogHead | None = None
    mapping_text: str | None = None
    mapping_file: str | None = None
    rows: list[tuple[MappedRow, list[ImageHeader]]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    judged: int = 0
    left_out: int = 0
    has_tripped: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether a run could use the catalogue."""
        return all(finding.level != "error" for finding in self.findings)

    def add_finding(self, level: FindingLevel, text: str) -> None:
        """Add a finding before those of lesser levels."""
        self.findings.append(Finding(level, text))
        self.findings.sort(key=lambda finding: LEVELS.index(finding.level))


def check_source(catalog: str, settings: Settings, *, max_rows: int = 5) -> CheckResult:
    """Return how a catalogue would be read and which of its first rows a run would refuse.

    Args:
        catalog: File, folder, glob or URI; ``{date}`` is the latest date that there is.
        settings: Mapping file (None: mapping.toml in the catalogue's folder or the one above, else a suggestion),
            allowed roots of images (empty: the mapping's image base and roots) and limits of the row rules.
        max_rows: Rows to show with the pixel sizes of their images.
    """
    check = CheckResult(catalog)
    try:
        mapping_file = _find_mapping(catalog, settings.mapping)
        mapping = SourceMapping.load(mapping_file) if mapping_file is not None else None
        check.mapping_file = None if mapping_file is None else str(mapping_file)
        check.head = read_head(catalog, CHECKED_RECORDS, mapping)
        folder = _find_folder(check.head.files[0] if "{date}" in catalog else catalog)
        if mapping is None:
            check.mapping_text = _suggest(check.head, folder)
            mapping = SourceMapping.parse(check.mapping_text)
    except (MoonError, MappingError, NoMappingError) as error:
        check.add_finding("error", str(error))
        return check
    _check_files(check, check.head, mapping)
    if _check_columns(check, check.head, mapping):
        base = mapping.resolve_image_base(folder)
        roots = tuple(folder_uri(root) for root in settings.allowed_roots) or mapping.resolve_image_roots(folder)
        limits = RowLimits(settings.max_title, settings.max_description, settings.max_images, roots)
        # Without a date every record is a row (not None).
        mapped = [map_parsed_record(parsed, mapping, base) for parsed in check.head.records]
        snapshots = _split_snapshots([row for row in mapped if row is not None], check.head.records, mapping)
        if (rules := build_merge_rules(mapping)) is not None:
            snapshots = [_merge_rows(check, snapshot, rules) for snapshot in snapshots]
        products = sorted((numbered for snapshot in snapshots for numbered in snapshot), key=lambda one: one[0])
        rows = [row for _, row in products]
        check.judged = len(rows)
        # The addresses of a mapping that nobody has read yet are not asked where they are private.
        policy = make_policy(settings, roots if mapping_file is not None else ())
        policy = replace(policy, rules=replace(policy.rules, roots=roots))
        shown = rows[:max_rows]
        headers = read_image_headers([image.uri for row in shown for image in row.images], roots, policy)
        check.rows = [(row, [headers[image.uri] for image in row.images]) for row in shown]
        check.refusals = _find_refusals(snapshots, limits)
        _check_breaker(check, len(rows), settings)
        _check_ids(check, rows)
        _check_snapshot(check, check.head, mapping)
        _check_images(check, products, roots, mapping)
        for text in describe_cuts(rows, settings.model):
            check.add_finding("note", text)
        _report_refusals(check, len(rows))
    return check


def _find_mapping(catalog: str, mapping_file: str | None) -> Path | None:
    """Return the mapping that was named, else the one that a run would find."""
    if mapping_file is not None:
        return Path(mapping_file)
    if "://" in catalog:
        return None
    return next((path for path in list_mapping_files(Path(_find_folder(catalog))) if path.is_file()), None)


def _find_folder(catalog: str) -> str:
    return catalog_folder(catalog if "://" in catalog else str(Path(catalog).absolute()))


def _suggest(head: CatalogHead, folder: str) -> str:
    records = [parsed.record for parsed in head.records if parsed.record is not None]
    return suggest_mapping(head.columns, records, None if "://" in folder else Path(folder))


def _check_files(check: CheckResult, head: CatalogHead, mapping: SourceMapping) -> None:
    if repeated := [name for name in head.duplicate_columns if name in mapping.list_columns()]:
        names = ", ".join(repeated)
        check.add_finding("error", f"the heading names {names} more than once; rename one of them")
    if not head.records:
        check.add_finding("error", f"{head.files[0]} has no records")
    extent = f"all {len(head.records)}" if head.whole else f"the first {len(head.records)}"
    more = f" ({len(head.files)} files)" if len(head.files) > 1 else ""
    check.add_finding("note", f"read {extent} records of {head.files[0]}{more} as {head.format}")


def _check_columns(check: CheckResult, head: CatalogHead, mapping: SourceMapping) -> bool:
    """Report mapped columns that the source lacks; return whether the rows can be mapped without them."""
    missing = mapping.find_missing_columns(head.columns)
    for name, near in missing.items():
        hint = f"; did you mean {near!r}?" if near else ""
        is_needed = name in (mapping.id, mapping.title) or head.format in ("csv", "parquet")
        text = f"the mapping names the column {name!r}, which the catalogue does not have{hint}"
        check.add_finding("error" if is_needed else "warning", text)
    unused = [name for name in head.columns if name not in mapping.list_columns()]
    if unused:
        check.add_finding("note", f"columns that are not used: {', '.join(unused)}")
    if mapping.images is None:
        check.add_finding("error", "the mapping says nothing of images; a product without images is refused (no_image)")
    return mapping.id not in missing and mapping.title not in missing


def _split_snapshots(
    rows: Sequence[MappedRow], records: Sequence[ParsedRecord], mapping: SourceMapping
) -> list[list[NumberedRow]]:
    """Return (source_row, row) of each date; the rows of a date are a snapshot of their own."""
    snapshots: dict[str, list[NumberedRow]] = {}
    for number, (row, parsed) in enumerate(zip(rows, records, strict=True)):
        day = _read_day(parsed, mapping) or ""
        snapshots.setdefault(day, []).append((number, row))
    return list(snapshots.values())


def _merge_rows(check: CheckResult, snapshot: Sequence[NumberedRow], rules: MergeRules) -> list[NumberedRow]:
    """Return the products of a snapshot that a run would judge, as the stage validate merges its rows."""
    merged = merge_snapshot(snapshot, rules)
    products = [one for one in merged if not one.is_left_out]
    left_out = len(snapshot) - sum(len(one.source_rows) for one in products)
    check.left_out += left_out
    check.add_finding("note", f"{len(snapshot):,} rows are {len(products):,} products; {left_out:,} rows are left out")
    if rules.where and all(one.row.row_error is not None for one in products):
        check.add_finding("error", f"the condition where = {rules.where!r} leaves out every row that was read")
    return [(one.source_rows[0], one.row) for one in products]


def _find_refusals(snapshots: Sequence[Sequence[NumberedRow]], limits: RowLimits) -> list[Refusal]:
    """Return the rows that the stage validate would refuse."""
    refusals = [refusal for snapshot in snapshots for refusal in find_refusals(snapshot, limits)]
    return sorted(refusals, key=lambda refusal: refusal.source_row)


def _read_day(parsed: ParsedRecord, mapping: SourceMapping) -> str | None:
    """Return the date of a record as the snapshot column has it, without a time; None without such a column."""
    if mapping.snapshot is None or parsed.record is None:
        return None
    text = (as_text(parsed.record.get(mapping.snapshot)) or "").strip()[:10]
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text


def _check_breaker(check: CheckResult, total: int, settings: Settings) -> None:
    """Warn of a share of refusals that would stop a run, if the rest of the catalogue is like its first records."""
    breaker = Breaker(len(check.refusals), total, settings.max_refusals, settings.breaker_floor)
    if breaker.is_tripped:
        check.has_tripped = True
        text = f"{breaker.count} of {total} rows that were read ({breaker.share:.1%}) would be refused"
        check.add_finding(
            "warning",
            f"{text}: with more than {breaker.max_share:.1%} of the catalogue and {breaker.tolerated_rows} rows a run "
            "stops, except the first of a collection (--allow-refusals)",
        )


def _report_refusals(check: CheckResult, total: int) -> None:
    """Report the refused rows by reason code, each code with its first row; errors when no row is good."""
    level: FindingLevel = "error" if len(check.refusals) == total else "warning"
    for reason, count in Counter(refusal.reason for refusal in check.refusals).items():
        first = next(refusal for refusal in check.refusals if refusal.reason == reason)
        check.add_finding(
            level,
            f"{count} of {total} rows would be refused, such as row {first.source_row} (counted from 0): {first.detail}"
            f"{REMEDIES.get(reason, '')}",
        )


def _check_ids(check: CheckResult, rows: Sequence[MappedRow]) -> None:
    ids = [str(row.product_id) for row in rows if row.row_error is None]
    if ids and all(product_id.endswith(".0") for product_id in ids):
        check.add_finding("warning", f"product ids read like {ids[0]!r}: the source stores them as decimal numbers")


def _check_snapshot(check: CheckResult, head: CatalogHead, mapping: SourceMapping) -> None:
    """Report the dates of the snapshot column; a run takes the rows of one."""
    if mapping.snapshot is None:
        return
    days = [_read_day(parsed, mapping) for parsed in head.records if parsed.record is not None]
    found = sorted({day for day in days if day})
    if found:
        shown = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
        check.add_finding(
            "note", f"the snapshot column {mapping.snapshot!r} holds {shown}; a run takes one date's rows"
        )
    empty = days.count("")
    if empty:
        level: FindingLevel = "error" if empty == len(days) else "warning"
        check.add_finding(level, f"the snapshot column {mapping.snapshot!r} is empty in {empty} of {len(days)} records")


def _check_images(
    check: CheckResult, products: Sequence[NumberedRow], roots: tuple[str, ...], mapping: SourceMapping
) -> None:
    """Report images under the roots that cannot be used, and add the refusals of rows that have no other image."""
    uris = [image.uri for _, row in products for image in row.images]
    allowed = [uri for uri in uris if is_under(uri, roots)]
    inside = [uri for uri in allowed if not is_web(uri)]
    _check_web_photos(check, set(allowed).difference(inside))
    problems = _find_image_problems(check, inside, roots)
    by_reason: dict[str, list[str]] = {}
    for uri in inside:
        if uri in problems:
            by_reason.setdefault(problems[uri].partition(":")[0], []).append(problems[uri])
    for found in by_reason.values():
        level: FindingLevel = "error" if len(found) == len(uris) else "warning"
        check.add_finding(level, f"{len(found)} of {len(uris)} images would be refused, such as {found[0]}")
    refused = {refusal.source_row for refusal in check.refusals}
    for number, row in products:
        if number not in refused and all(image.uri in problems for image in row.images):
            detail = f"{Reason.NO_READABLE_IMAGE}: none of {len(row.images)} images can be used"
            check.refusals.append(Refusal(number, Reason.NO_READABLE_IMAGE, detail))
    has_version = mapping.images is None or mapping.images.version_column is not None
    if not has_version and any(uri not in problems for uri in inside):
        check.add_finding("note", "no images.version_column: a changed image is noticed by its size and time")


def _check_web_photos(check: CheckResult, uris: set[str]) -> None:
    """Report how the hosts answered for the photos by URL of the rows to show, and what all photos will need."""
    if not uris:
        return
    shown = {header.uri: header for _, headers in check.rows for header in headers if header.uri in uris}
    asked = {uri: header for uri, header in shown.items() if header.problem or header.size}
    failed = [header.problem for header in asked.values() if header.problem]
    if failed:
        check.add_finding("warning", f"{len(failed)} of {len(asked)} photos by URL failed, such as {failed[0]}")
    sizes = [header.size for header in asked.values() if header.size]
    size = sum(sizes) / len(sizes) if sizes else None
    if size is not None:
        each = f"they have {size / 1024:,.0f} KiB each"
        check.add_finding("note", f"{len(sizes)} of {len(uris):,} photos by URL were asked for: {each}")
    elif not asked:
        check.add_finding("note", f"{len(uris):,} photos by URL are not opened here; the stage fetch does")
    if check.head is not None:
        check.add_finding("note", describe_first_fetch(check.head, len(uris), size))


def _find_image_problems(check: CheckResult, uris: Sequence[str], roots: tuple[str, ...]) -> dict[str, str]:
    """Return "reason code: what is wrong" by URI, for images of the rows to show and for local files."""
    headers = {image.uri: image for _, images in check.rows for image in images}
    for uri in uris:
        # Of other rows only the local files that have no version are opened: they are missing or may not be read.
        is_local = uri.startswith("file://")
        if uri not in headers and is_local and read_image_version(uri, roots) is None:
            headers[uri] = read_image_header(uri, roots)
    return {uri: headers[uri].problem or "" for uri in uris if uri in headers and headers[uri].problem}
