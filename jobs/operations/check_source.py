"""check-source: predicts how a nightly run would read a delivery, which rows it would refuse, and what would stop it.

Reads every file of the delivery, up to a number of rows, and the headers of a few images. It needs neither Spark nor a
lake, and writes nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from jobs.catalog.delivery_judge import DeliveryJudge, PhotoVerdict, SnapshotResult, is_date
from jobs.catalog.head import CatalogHead, read_head
from jobs.catalog.mapping import catalog_folder, list_mapping_files
from jobs.catalog.model_limits import CutCounter
from jobs.catalog.part_reader import MAX_READ_ROWS, SAME_COLUMNS, CatalogPart, PartReader, ReadingProgress
from jobs.catalog.suggest_mapping import NoMappingError, suggest_mapping
from jobs.errors import MoonError
from jobs.images.fetcher import make_policy
from jobs.operations.check_photos import ImageHeader, PhotoCheck, describe_first_fetch
from jobs.settings import Settings
from schemas.source import MappedRow, MappingError, SourceMapping
from schemas.uri import folder_uri
from validation.reasons import Reason
from validation.rules import Refusal

SAMPLED_RECORDS = 100
"""First records, by which a mapping is suggested and the columns are shown."""

MAX_NAMED = 5
"""Files, dates or reasons that one message names."""

REMEDIES = {Reason.FORBIDDEN_URI: "; set images.base or images.roots in the mapping, or MOON_ALLOWED_ROOTS"}
"""What to do about refusals for a reason, where the detail does not say it."""

FindingLevel = Literal["error", "warning", "note"]
LEVELS: tuple[FindingLevel, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """A remark for the analyst; level "error" means that a run cannot use the catalogue as it is."""

    level: FindingLevel
    text: str


@dataclass
class CheckResult:
    """Result of checking a delivery: mapping, sample rows, refusals and findings.

    Attributes:
        catalog: The catalogue as it was named.
        head: The first records of the catalogue; None when it could not be read.
        mapping_text: The suggested mapping (TOML); None when a mapping was named or found.
        mapping_file: The mapping that was used; None when it is the suggested one.
        reader: The files of the delivery as far as they were read; None when they were not.
        rows: The first rows as mapped, with their images.
        refusals: All rows read, of all dates, that a run would refuse.
        findings: Errors first, then warnings, then notes.
        judged: Number of products in the rows read, of all dates, whether a run would serve or refuse them.
        night: Predicted run of the date that would be taken; None if no row could be judged.
        unopened: Number of photos that were not opened; only a run finds out whether they can be used.
    """

    catalog: str
    head: CatalogHead | None = None
    mapping_text: str | None = None
    mapping_file: str | None = None
    reader: PartReader | None = None
    rows: list[tuple[MappedRow, list[ImageHeader]]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    judged: int = 0
    night: SnapshotResult | None = None
    unopened: int = 0

    @property
    def is_usable(self) -> bool:
        """Whether a run could use the catalogue."""
        return all(finding.level != "error" for finding in self.findings)

    def add_finding(self, level: FindingLevel, text: str) -> None:
        """Insert a finding before those of lower levels."""
        self.findings.append(Finding(level, text))
        self.findings.sort(key=lambda finding: LEVELS.index(finding.level))


def check_source(
    catalog: str,
    settings: Settings,
    *,
    max_rows: int = 5,
    read_rows: int = MAX_READ_ROWS,
    show_progress: ReadingProgress | None = None,
) -> CheckResult:
    """Return how a delivery would be read, which of its rows a run would refuse, and what would stop the run.

    Args:
        catalog: File, folder, glob or URI; ``{date}`` stands for the latest date found.
        settings: Mapping file (None: mapping.toml in the catalogue's folder or the one above, else a suggestion),
            allowed roots of images (empty: the mapping's image base and roots), limits of the row rules, thresholds of
            the gate and the breakers.
        max_rows: Number of rows to show with the pixel sizes of their images.
        read_rows: Number of rows to read from all files together (`jobs.catalog.part_reader`).
        show_progress: Callback that is called while the files are read.
    """
    check = CheckResult(catalog)
    try:
        mapping_file = _find_mapping(catalog, settings.mapping)
        mapping = SourceMapping.load(mapping_file) if mapping_file is not None else None
        check.mapping_file = None if mapping_file is None else str(mapping_file)
        check.head = read_head(catalog, SAMPLED_RECORDS, mapping)
        folder = _find_folder(check.head.files[0] if "{date}" in catalog else catalog)
        if mapping is None:
            check.mapping_text = _suggest(check.head, folder)
            mapping = SourceMapping.parse(check.mapping_text)
    except (MoonError, MappingError, NoMappingError) as error:
        check.add_finding("error", str(error))
        return check
    if _check_heading(check, check.head, mapping):
        roots = tuple(folder_uri(root) for root in settings.allowed_roots) or mapping.resolve_image_roots(folder)
        # A suggested mapping was not reviewed yet: its addresses are not requested if they are private.
        policy = make_policy(settings, roots if mapping_file is not None else ())
        policy = replace(policy, rules=replace(policy.rules, roots=roots))
        cuts = CutCounter(settings.model)
        photos = PhotoCheck(roots, policy, max_rows, cuts.max_images)

        def look_at(row: MappedRow, is_refused: bool) -> PhotoVerdict:
            cuts.add(row)
            return photos.judge(row, is_refused)

        base = mapping.resolve_image_base(folder)
        judge = DeliveryJudge(mapping, base, roots, settings, look_at, max_rows)
        check.reader = PartReader(check.head, mapping, read_rows, show_progress)
        _judge_parts(check, check.head, check.reader, judge)
        photos.ask_hosts([image.uri for row in judge.shown for image in row.images])
        check.rows = [(row, [photos.headers[image.uri] for image in row.images]) for row in judge.shown]
        check.unopened = photos.unopened
        _report_parts(check, check.head, check.reader, mapping)
        _report_snapshots(check, judge, mapping)
        _report_photos(check, photos, mapping)
        if settings.image_store == "all" and photos.inside:
            check.add_finding("note", photos.describe_store())
        for text in cuts.describe():
            check.add_finding("note", text)
        _report_refusals(check)
    return check


def _judge_parts(check: CheckResult, head: CatalogHead, reader: PartReader, judge: DeliveryJudge) -> None:
    """Read and judge all rows; store the predicted run in `check`."""
    folders = [PurePosixPath(file).parent.as_posix() if head.has_subfolders else None for file in head.files]
    for number, parsed in reader:
        judge.add(number, parsed, folders[reader.get_part(number)])
    results = judge.finish(reader.renumber)
    refusals = {refusal: None for result in results for refusal in result.refusals}
    lost = [refusal for refusal in refusals if refusal.reason == Reason.NO_READABLE_IMAGE]
    check.refusals = sorted(refusals.keys() - lost, key=lambda refusal: refusal.source_row)
    check.refusals += sorted(lost, key=lambda refusal: refusal.source_row)
    check.judged = sum(result.judged for result in results)
    check.judged -= judge.count_undated() * max(len(results) - 1, 0)
    check.night = results[0] if results else None


def _find_mapping(catalog: str, mapping_file: str | None) -> Path | None:
    """Return the path of the mapping that was named, else of the one that a run would find."""
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


def _check_heading(check: CheckResult, head: CatalogHead, mapping: SourceMapping) -> bool:
    """Report problems with the columns of the first file; return whether rows can still be mapped."""
    if repeated := [name for name in head.duplicate_columns if name in mapping.list_columns()]:
        names = ", ".join(repeated)
        check.add_finding("error", f"the heading names {names} more than once; rename one of them")
    if not head.records and len(head.files) == 1:
        check.add_finding("error", f"{head.files[0]} has no records")
    missing = mapping.find_missing_columns(head.columns) if head.columns else {}
    for name, near in missing.items():
        # Of JSON and XML later records may have the column.
        if name in (mapping.id, mapping.title) or head.format in SAME_COLUMNS:
            text = f"the mapping names the column {name!r}, which the catalogue does not have{_hint(near)}"
            check.add_finding("error", text)
    unused = [name for name in head.columns if name not in mapping.list_columns()]
    if unused:
        check.add_finding("note", f"columns that are not used: {', '.join(unused)}")
    if mapping.images is None:
        check.add_finding("error", "the mapping says nothing of images; a product without images is refused (no_image)")
    return not repeated and mapping.id not in missing and mapping.title not in missing


def _report_parts(check: CheckResult, head: CatalogHead, reader: PartReader, mapping: SourceMapping) -> None:
    """Report the extent of reading, and the files and columns at which a run would stop."""
    for part in [part for part in reader.parts if part.problem][:MAX_NAMED]:
        check.add_finding("error", f"{part.problem}")
    survey = reader.survey()
    missing, needed = survey.find_missing(mapping)
    reported = mapping.find_missing_columns(head.columns) if head.format in SAME_COLUMNS else {}
    for name, near in missing.items():
        lacking = [part for part in reader.parts if part.rows and name not in part.list_columns()]
        if name in reported or any(part.problem for part in lacking):
            continue
        level: FindingLevel = "error" if name in needed and survey.is_whole else "warning"
        where = "which no record has" if len(lacking) == len(reader.parts) else f"which {_name_files(lacking)} lacks"
        if head.format == "csv":
            level = "error"
        check.add_finding(level, f"the mapping names the column {name!r}, {where}{_hint(near)}")
    if not reader.rows and len(reader.parts) > 1 and not any(part.problem for part in reader.parts):
        check.add_finding("error", f"none of the {len(reader.parts)} files has a record")
    rows = f"all {reader.rows:,}" if reader.is_whole else f"{reader.rows:,}"
    files = (
        reader.parts[0].file if len(reader.parts) == 1 else f"{len(reader.parts)} files ({_name_files(reader.parts)})"
    )
    check.add_finding("note", f"read {rows} records of {files} as {head.format}")
    if open_parts := [part for part in reader.parts if not part.is_whole and not part.problem]:
        more = f"not read to the end: {_name_files(open_parts)}; more with --read-rows"
        check.add_finding("note", more)


def _report_snapshots(check: CheckResult, judge: DeliveryJudge, mapping: SourceMapping) -> None:
    """Report the dates, how rows became products, and the results of the gate and the breakers."""
    _report_dates(check, judge, mapping)
    night = check.night
    if night is None:
        return
    of_day = f" of {night.day}" if night.day else ""
    if judge.rules is not None:
        rows = night.judged + night.merged + night.left_out
        check.add_finding(
            "note", f"{rows:,} rows{of_day} are {night.judged:,} products; {night.left_out:,} rows are left out"
        )
    for text in (*night.stops, *night.forecast.stops):
        check.add_finding("error", text)
    for text in night.forecast.second_stops:
        check.add_finding("warning", f"a second night with this delivery would stop: {text}")
    if night.forecast.least_accepted and not night.forecast.stops:
        check.add_finding("warning", _describe_refusals(night))
    if judge.readable_ids and judge.decimal_ids == judge.readable_ids:
        check.add_finding(
            "warning", f"product ids read like {judge.first_id!r}: the source stores them as decimal numbers"
        )


def _describe_refusals(night: SnapshotResult) -> str:
    """Return the prediction of the refusal breaker, which accepts the share of the run that was served last."""
    count = sum(refusal.reason != Reason.NO_READABLE_IMAGE for refusal in night.refusals)
    return (
        f"{count:,} of {night.judged:,} products ({count / night.judged:.1%}) would be refused: the first run of a "
        f"collection only warns of that, and a later one passes if the run before refused at least "
        f"{night.forecast.least_accepted:.1%}; else it stops (--allow-refusals)"
    )


def _report_dates(check: CheckResult, judge: DeliveryJudge, mapping: SourceMapping) -> None:
    """Report the dates of the snapshot column; a run takes the rows of one."""
    if mapping.snapshot is None:
        return
    found = sorted(day for day in judge.dates if day)
    if found:
        shown = ", ".join(found[:MAX_NAMED]) + (", …" if len(found) > MAX_NAMED else "")
        check.add_finding(
            "note", f"the snapshot column {mapping.snapshot!r} holds {shown}; a run takes one date's rows"
        )
        if not any(map(is_date, found)):
            text = f"the snapshot column {mapping.snapshot!r} holds no date: write 2026-11-22, perhaps with a time"
            check.add_finding("error", text)
    empty, total = judge.dates[""], judge.dates.total()
    if empty:
        level: FindingLevel = "error" if empty == total else "warning"
        check.add_finding(level, f"the snapshot column {mapping.snapshot!r} is empty in {empty} of {total} records")


def _report_refusals(check: CheckResult) -> None:
    """Report the refused rows by reason code, each code with its first row; errors when no row is good."""
    level: FindingLevel = "error" if len(check.refusals) == check.judged else "warning"
    for reason, count in Counter(refusal.reason for refusal in check.refusals).items():
        first = next(refusal for refusal in check.refusals if refusal.reason == reason)
        check.add_finding(
            level,
            f"{count} of {check.judged} rows would be refused, such as row {_locate(check, first)}: {first.detail}"
            f"{REMEDIES.get(reason, '')}",
        )


def _locate(check: CheckResult, refusal: Refusal) -> str:
    """Return a description of where a refused row is."""
    if check.reader is None or len(check.reader.parts) == 1:
        return f"{refusal.source_row} (counted from 0)"
    part, row = check.reader.locate(refusal.source_row)
    return f"{row} of {PurePosixPath(part.file).name} (counted from 0)"


def _report_photos(check: CheckResult, photos: PhotoCheck, mapping: SourceMapping) -> None:
    """Report photos under the roots that cannot be used."""
    _report_web_photos(check, photos.by_url)
    for reason, count in photos.problems.items():
        level: FindingLevel = "error" if count == photos.total else "warning"
        check.add_finding(
            level, f"{count} of {photos.total} images would be refused, such as {photos.examples[reason]}"
        )
    has_version = mapping.images is None or mapping.images.version_column is not None
    if not has_version and photos.inside > photos.problems.total():
        check.add_finding("note", "no images.version_column: a changed image is noticed by its size and time")


def _report_web_photos(check: CheckResult, uris: set[str]) -> None:
    """Report the hosts' answers for the photos by URL of the shown rows, and the expected cost of all photos."""
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
    if check.head is not None and check.reader is not None:
        check.add_finding("note", describe_first_fetch(check.head, check.reader, len(uris), size))


def _hint(near: str | None) -> str:
    return f"; did you mean {near!r}?" if near else ""


def _name_files(parts: Sequence[CatalogPart]) -> str:
    names = [PurePosixPath(part.file).name for part in parts]
    return ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else "")
