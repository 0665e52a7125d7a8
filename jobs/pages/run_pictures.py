"""Draws the sections of a run's page that show products, and records what the next run compares with.

A section that fails is replaced by a sentence: a page never fails because of a picture, and a run never because of a
page.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from jobs.errors import MoonError
from jobs.pages.drift import count_changes, draw_drift, list_drift, measure_categories
from jobs.pages.embedding_map import draw_embedding_map, find_axes
from jobs.pages.neighbours import ServedSample, list_recorded, measure_stayed, read_served_sample
from jobs.pages.product_cards import (
    draw_products,
    make_cards,
    make_region_cards,
    read_near_products,
    read_products,
    read_regions,
    read_uncertain,
    sample_changed,
)
from jobs.pages.refused_cards import draw_refused
from jobs.pages.run_record import EarlierRecords, MapAxes, RunRecord, find_earlier_records, write_record
from jobs.pages.thumbnails import Picture, ThumbnailLimits, ThumbnailMaker, make_thumbnail_maker
from jobs.state.ledger import read_ledger_head
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunPictures:
    """Sections of a run's page, ready for a template.

    Attributes:
        products: new and changed products, canary queries, least certain regions.
        refused: refused and partial products.
        embedding_map: map of the served products.
        drift: drift by category.
        neighbours_stayed: share of the recorded products' neighbours that are those of the run before; None without
            such a run.
    """

    products: Markup = field(default_factory=Markup)
    refused: Markup = field(default_factory=Markup)
    embedding_map: Markup = field(default_factory=Markup)
    drift: Markup = field(default_factory=Markup)
    neighbours_stayed: float | None = None


@dataclass
class _Evidence:
    """What several sections read."""

    context: RunContext
    plan: Plan
    maker: ThumbnailMaker
    ops: dict[str, str] = field(default_factory=dict)
    earlier: EarlierRecords = field(default_factory=EarlierRecords)
    sample: ServedSample | None = None
    note: str = ""


def draw_run_pictures(context: RunContext, plan: Plan) -> RunPictures:
    """Return the sections of a served run, and write its record.

    Args:
        context, plan: the run; its collection is read as it is now, so the run should be the latest one. One that
            changed nothing opens no photo and searches nothing.
    """
    if not plan.counts.differing:
        return _describe_no_change(context, plan)
    evidence = _Evidence(context, plan, make_thumbnail_maker(context))
    _try("the neighbours", lambda: _read_evidence(evidence))
    products = _try("the products", lambda: _draw_products(evidence))
    refused = draw_run_refusals(context, evidence.maker)
    sample, before = evidence.sample, evidence.earlier.last
    if sample is None:
        sentence = Markup("<p>{}</p>").format(evidence.note or "The collection could not be read.")
        return RunPictures(products, refused, sentence, sentence)
    axes: MapAxes | None = None

    def draw_map() -> Markup:
        nonlocal axes
        axes = find_axes(sample, before, plan.model_version)
        return draw_embedding_map(sample, axes)

    embedding_map, means = _try("the map", draw_map), measure_categories(sample)
    drift = _try("the drift", lambda: draw_drift(
        list_drift(means, count_changes(context, plan), plan, evidence.earlier), plan, evidence.earlier
    ))  # fmt: skip
    version = read_ledger_head(context.lake, plan.collection).version
    record = RunRecord(
        plan.run_id, plan.date, plan.collection, plan.model_version, version, list_recorded(sample), means, axes
    )
    _try("the record", lambda: escape(write_record(context.lake, record)))
    return RunPictures(products, refused, embedding_map, drift, measure_stayed(sample, before))


def _describe_no_change(context: RunContext, plan: Plan) -> RunPictures:
    """Return what stands in for the sections of a run that changed nothing; the last record stays the latest."""
    no_photos = ThumbnailMaker(context.lake, limits=ThumbnailLimits(pictures=0))
    version = read_ledger_head(context.lake, plan.collection).version
    last = find_earlier_records(context.lake, plan, version).last
    where = f" The page of {last.date} shows the products that are served." if last else ""
    sentence = Markup("<p>The run changed nothing.{}</p>").format(where)
    refused = draw_run_refusals(context, no_photos)
    return RunPictures(sentence, refused, sentence, sentence, neighbours_stayed=1.0 if last else None)


def draw_run_refusals(context: RunContext, maker: ThumbnailMaker | None = None) -> Markup:
    """Return thumbnails of what a date refused; also for a run that was stopped before it was served."""
    return _try("the refused products", lambda: draw_refused(context, maker or make_thumbnail_maker(context)))


def _read_evidence(evidence: _Evidence) -> Markup:
    context, plan = evidence.context, evidence.plan
    evidence.ops = sample_changed(context, plan)
    evidence.earlier = find_earlier_records(context.lake, plan, read_ledger_head(context.lake, plan.collection).version)
    try:
        evidence.sample = read_served_sample(context, plan, list(evidence.ops), evidence.earlier.last)
    except MoonError as error:
        evidence.note = f"Neighbours, map and drift are missing: {error}."
    return Markup("")


def _draw_products(evidence: _Evidence) -> Markup:
    context, sample, before, maker = evidence.context, evidence.sample, evidence.earlier.last, evidence.maker
    canaries = dict.fromkeys(sample.canaries, "") if sample else {}
    shown = {**evidence.ops, **canaries}
    near = read_near_products(context, sample, shown, before) if sample else {}
    products = {**near, **read_products(context.lake, context.date, shown)}
    photos = [product.photos[0] for name in shown if (product := products.get(name)) and product.photos]
    regions = read_regions(context, evidence.plan, photos)
    uncertain = read_uncertain(context, evidence.plan)
    wanted = [photo for product in products.values() for photo in product.photos[:1]]
    maker.locate([*wanted, *(Picture(row["uri"], row["version"]) for row in uncertain)])
    changed, untouched = (make_cards(products, ops, regions, sample, before, maker) for ops in (evidence.ops, canaries))
    return draw_products(changed, untouched, make_region_cards(uncertain, maker), note=evidence.note)


def _try(name: str, draw: Callable[[], Markup]) -> Markup:
    """Return a section, or a sentence in its place if drawing it fails."""
    try:
        return draw()
    except Exception as error:  # a missing picture must not cost a page
        log.warning("%s cannot be shown", name, exc_info=True)
        return Markup("<p class='warn'>This part could not be drawn: {}. The log has more.</p>").format(error)
