"""Predicts the gate and the breakers for a delivery, for a first run and for a second run with the same delivery.

It uses counts only, without Spark or a lake. The arithmetic is in `validation`, which the stages use too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.settings import Settings
from validation.breakers import ACCEPTED_GROWTH, Breaker, relax_refusals
from validation.gate import GateLimits, find_gate_failures
from validation.rules import RowLimits


@dataclass(frozen=True)
class DeliveryCounts:
    """Counts and metrics of one date's rows.

    Attributes:
        judged: Number of products that the row rules judged: rows or merged rows.
        refused: Number of those that a row rule or a repeated id refuses.
        lost: Number of the others that have no usable photo.
        images: Number of photos of good products that the model would see.
        unreached: Number of those that are missing or cannot be reached.
        first_shares: Metrics of the snapshot on a first run (`validation.shares.SnapshotCounter`).
        second_shares: Metrics on a run after one with the same snapshot.
    """

    judged: int
    refused: int
    lost: int
    images: int
    unreached: int
    first_shares: Mapping[str, float | int]
    second_shares: Mapping[str, float | int]


@dataclass(frozen=True)
class Forecast:
    """Reasons for which runs would stop, each a sentence without a full stop.

    Attributes:
        stops: Reasons for the first run of a collection.
        second_stops: Reasons for a second run with the same delivery, if the first one does not stop.
        least_accepted: Minimum share of refused rows (0 to 1) in the last run of a served collection for which this
            delivery passes; 0.0 if it passes after any run.
    """

    stops: tuple[str, ...] = ()
    second_stops: tuple[str, ...] = ()
    least_accepted: float = 0.0


def read_gate_limits(settings: Settings) -> GateLimits:
    """Return the limits of the gate's rules."""
    return GateLimits(
        row_ratio=settings.min_row_ratio,
        null_share=settings.max_null_share,
        duplicate_share=settings.max_duplicate_share,
        category_coverage=settings.min_category_coverage,
        tolerated_rows=settings.breaker_floor,
    )


def read_row_limits(settings: Settings, roots: tuple[str, ...]) -> RowLimits:
    """Return the limits of the row rules; `roots`: canonical URIs of the folders that images may come from."""
    return RowLimits(settings.max_title, settings.max_description, settings.max_images, roots)


def forecast_nights(counts: DeliveryCounts, settings: Settings) -> Forecast:
    """Return the reasons for which a first run and a second one with the same delivery would stop."""
    stops = _find_stops(counts, settings, is_second=False)
    refusals = _make_breaker(counts, settings, accepted_share=None)
    return Forecast(
        tuple(stops),
        () if stops else tuple(_find_stops(counts, settings, is_second=True)),
        refusals.share - ACCEPTED_GROWTH if refusals.is_tripped else 0.0,
    )


def _find_stops(counts: DeliveryCounts, settings: Settings, *, is_second: bool) -> list[str]:
    shares = counts.second_shares if is_second else counts.first_shares
    stops = [f"the gate: {failure}" for failure in find_gate_failures(shares, read_gate_limits(settings))]
    if counts.refused == counts.judged:
        stops.append(f"none of the {counts.judged:,} products is valid")
    photos = Breaker(counts.unreached, counts.images, settings.max_unreachable, settings.breaker_floor)
    if photos.is_tripped:
        stops.append(f"{_describe(photos, 'photos are missing or cannot be reached')} (MOON_MAX_UNREACHABLE)")
    if is_second:  # the first run of a collection only warns of these
        accepted = counts.refused / max(counts.judged, 1)
        refusals = _make_breaker(counts, settings, accepted_share=accepted)
        if refusals.is_tripped:
            stops.append(f"{_describe(refusals, 'products would be refused')} (--allow-refusals)")
        lost = Breaker(counts.lost, counts.judged, settings.max_refusals, settings.breaker_floor)
        if lost.is_tripped:
            stops.append(f"{_describe(lost, 'products have no photo that can be used')} (--allow-refusals)")
    return stops


def _make_breaker(counts: DeliveryCounts, settings: Settings, *, accepted_share: float | None) -> Breaker:
    max_share = relax_refusals(settings.max_refusals, accepted_share)
    return Breaker(counts.refused, counts.judged, max_share, settings.breaker_floor)


def _describe(breaker: Breaker, what: str) -> str:
    """Return a sentence that describes a tripped breaker."""
    return (
        f"{breaker.count:,} of {breaker.total:,} {what} ({breaker.share:.1%}); the limit is {breaker.max_share:.1%} "
        f"and more than {breaker.tolerated_rows:,}"
    )
