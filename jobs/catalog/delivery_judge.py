"""Applies the checks of a nightly run to the rows of a delivery, date by date: merging, rules, ids, photos, the gate.

Rows arrive one by one in any order and are counted at once. Only a mapping that merges or leaves out rows needs all of
them at the end (`schemas.merging`).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from jobs.catalog.forecast import DeliveryCounts, Forecast, forecast_nights, read_row_limits
from jobs.catalog.mapping import map_parsed_record
from jobs.catalog.records import ParsedRecord
from jobs.settings import Settings
from schemas.merging import MergeRules, NumberedRow, build_merge_rules, merge_snapshot
from schemas.source import MappedRow, SourceMapping, read_snapshot_day
from validation.reasons import Reason
from validation.rules import Refusal, RefusalFinder, RowLimits
from validation.shares import SnapshotCounter

NO_DAY = ""
"""Day of rows whose snapshot column is empty, or of all rows where the mapping names no such column."""


@dataclass(frozen=True)
class PhotoVerdict:
    """Verdict on the photos of a good product that the model would see.

    Attributes:
        images: Number of these photos.
        unreached: Number of those that are missing or cannot be reached.
        is_lost: Whether none of them can be used.
    """

    images: int
    unreached: int
    is_lost: bool


JudgePhotos = Callable[[MappedRow, bool], PhotoVerdict]
"""Checks the photos of a product; the second argument is whether the row rules refuse it."""


@dataclass
class SnapshotTally:
    """Counts and verdicts of the rows of one date.

    Attributes:
        finder: Refusals by the row rules.
        counter: Metrics of the gate.
        judged: Products that the row rules judged.
        merged: Rows that are part of another row's product.
        left_out: Rows of the products that `where` leaves out.
        images, unreached: Photos of good products that the model would see, and those of them that are unreachable.
        lost: Row number and number of photos of each product without a usable photo.
        waiting: Rows that are merged after the last row has arrived.
        folders: Folder of every product id, if a delivery has several folders.
        stops: Reasons, besides the gate and the breakers, for which a run would stop.
    """

    finder: RefusalFinder
    counter: SnapshotCounter = field(default_factory=SnapshotCounter)
    judged: int = 0
    merged: int = 0
    left_out: int = 0
    images: int = 0
    unreached: int = 0
    lost: dict[int, int] = field(default_factory=dict)
    waiting: list[NumberedRow] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)
    stops: list[str] = field(default_factory=list)

    def judge(self, number: int, row: MappedRow, judge_photos: JudgePhotos) -> None:
        """Judge a product."""
        self.judged += 1
        reason = self.finder.add(number, row)
        self.counter.add(row, is_refused=reason not in (None, Reason.DUPLICATE_ID))
        verdict = judge_photos(row, reason is not None)
        if reason is None:
            self.images += verdict.images
            self.unreached += verdict.unreached
            if verdict.is_lost:
                self.lost[number] = len(row.images)

    def note_folder(self, product_id: str | None, folder: str) -> None:
        """Record the folder of an id; an id in two folders stops a run."""
        if product_id is not None and not self.stops:
            other = self.folders.setdefault(product_id, folder)
            if other != folder:
                self.stops.append(
                    f"the product {product_id!r} is in {other} and in {folder}: these look like deliveries of several "
                    "dates side by side; name one of them, with {date} in --catalog if its folder has the date"
                )


@dataclass(frozen=True)
class SnapshotResult:
    """Predicted result of a run on one date's rows.

    Attributes:
        day: The date, or `NO_DAY`.
        judged: Number of products that were judged.
        refusals: Products that would be refused, including those refused for unusable photos.
        merged, left_out: Numbers of rows, as in `SnapshotTally`.
        stops: Reasons, besides the gate and the breakers, for which a run would stop.
        forecast: Prediction for the gate and the breakers.
    """

    day: str
    judged: int
    refusals: tuple[Refusal, ...]
    merged: int
    left_out: int
    stops: tuple[str, ...]
    forecast: Forecast


class DeliveryJudge:
    """Judges the records of a delivery, in any order, and predicts the result of a run on each date.

    Args:
        mapping: Source mapping: roles of the columns.
        image_base: Canonical URI that relative image paths start from.
        roots: Canonical URIs of the folders that images may come from.
        settings: Limits and thresholds.
        judge_photos: Checks the photos of each product.
        max_shown: Number of products to keep for display.

    Attributes:
        rules: Merge rules; None if each row is a product.
        dates: Number of records by value of the snapshot column, including empty values.
        readable_ids, decimal_ids: Number of readable rows, and of those whose id ends in ``.0``.
        first_id: Id of the first of them.
    """

    def __init__(
        self,
        mapping: SourceMapping,
        image_base: str,
        roots: tuple[str, ...],
        settings: Settings,
        judge_photos: JudgePhotos,
        max_shown: int,
    ) -> None:
        self.rules: MergeRules | None = build_merge_rules(mapping)
        self.dates: Counter[str] = Counter()
        self.readable_ids = self.decimal_ids = 0
        self.first_id: str | None = None
        self._mapping = mapping
        self._image_base = image_base
        self._settings = settings
        self._limits: RowLimits = read_row_limits(settings, roots)
        self._judge_photos = judge_photos
        self._max_shown = max_shown
        self._shown: dict[int, MappedRow] = {}
        self._tallies: dict[str, SnapshotTally] = {}
        self._undated: list[tuple[int, MappedRow, str]] = []

    @property
    def shown(self) -> list[MappedRow]:
        """The first products, in reading order."""
        return [row for _, row in sorted(self._shown.items(), key=lambda one: one[0])]

    def add(self, number: int, parsed: ParsedRecord, folder: str | None = None) -> None:
        """Judge a record.

        Args:
            number: Position in reading order.
            parsed: The record.
            folder: Folder of its file, if the folders of the delivery are not partitions.
        """
        row = map_parsed_record(parsed, self._mapping, self._image_base)
        if row is None:  # never without a date
            return
        day = self._read_day(parsed)
        if row.row_error is None:
            self.first_id = row.product_id if not self.readable_ids else self.first_id
            self.readable_ids += 1
            self.decimal_ids += str(row.product_id).endswith(".0")
        if day == NO_DAY and self._mapping.snapshot is not None:  # it belongs to the date of any run
            self._undated.append((number, row, folder or ""))
        else:
            self._add_row(day, number, row, folder)
        if self.rules is None:
            self._show(number, row)

    def finish(self, renumber: Callable[[int], int]) -> list[SnapshotResult]:
        """Return the predicted result for each date, the latest first; values that are not dates come last.

        Args:
            renumber: Converts the numbers passed to `add` into `source_row`.
        """
        for number, row, folder in self._undated:
            for day in list(self._tallies) or [NO_DAY]:
                self._add_row(day, number, row, folder or None)
        results = [self._finish_day(day, tally, renumber) for day, tally in self._tallies.items()]
        return sorted(results, key=lambda result: (is_date(result.day), result.day), reverse=True)

    def count_undated(self) -> int:
        """Return how many rows have no date, and therefore belong to every date."""
        return len(self._undated)

    def _add_row(self, day: str, number: int, row: MappedRow, folder: str | None) -> None:
        tally = self._tallies.get(day)
        if tally is None:
            tally = self._tallies[day] = SnapshotTally(RefusalFinder(self._limits))
        if folder is not None:
            tally.note_folder(row.product_id, folder)
        if self.rules is None:
            tally.judge(number, row, self._judge_photos)
        else:
            tally.waiting.append((number, row))

    def _show(self, number: int, row: MappedRow) -> None:
        if len(self._shown) < self._max_shown:
            self._shown[number] = row

    def _finish_day(self, day: str, tally: SnapshotTally, renumber: Callable[[int], int]) -> SnapshotResult:
        if self.rules is not None:
            self._merge(tally, self.rules)
        refusals = tally.finder.list_refusals(renumber)
        refused = {refusal.source_row for refusal in refusals}
        lost = {renumber(number): images for number, images in tally.lost.items()}
        lost = {number: images for number, images in lost.items() if number not in refused}
        counts = DeliveryCounts(
            judged=tally.judged,
            refused=len(refusals),
            lost=len(lost),
            images=tally.images,
            unreached=tally.unreached,
            first_shares=tally.counter.compute_shares(is_repeated=False),
            second_shares=tally.counter.compute_shares(is_repeated=True),
        )
        for number, images in lost.items():
            detail = f"{Reason.NO_READABLE_IMAGE}: none of {images} images can be used"
            refusals.append(Refusal(number, Reason.NO_READABLE_IMAGE, detail))
        return SnapshotResult(
            day, tally.judged, tuple(refusals), tally.merged, tally.left_out, tuple(tally.stops),
            forecast_nights(counts, self._settings),
        )  # fmt: skip

    def _merge(self, tally: SnapshotTally, rules: MergeRules) -> None:
        products = merge_snapshot(tally.waiting, rules)
        tally.waiting.clear()
        has_readable = False
        for product in products:
            if product.is_left_out:
                tally.left_out += len(product.source_rows)
                continue
            has_readable |= product.row.row_error is None
            tally.merged += len(product.source_rows) - 1
            self._show(product.source_rows[0], product.row)
            tally.judge(product.source_rows[0], product.row, self._judge_photos)
        if rules.where and not has_readable:
            tally.stops.append(f"the condition where = {rules.where!r} leaves out every row that was read")

    def _read_day(self, parsed: ParsedRecord) -> str:
        """Return the date of a record in the snapshot column; count it."""
        if self._mapping.snapshot is None or parsed.record is None:
            return NO_DAY
        day = read_snapshot_day(parsed.record, self._mapping.snapshot, self._settings.timezone)
        self.dates[day] += 1
        return day


def is_date(text: str) -> bool:
    """Return whether a run can have a text as its date."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
