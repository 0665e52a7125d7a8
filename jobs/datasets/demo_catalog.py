"""Writes the demo shop as catalogue snapshots with photos, day by day (``moon demo-catalog``).

The folder has ``<date>/catalog.jsonl`` for each day, ``images/``, ``mapping.toml``, ``boxes.jsonl`` (the box of
the product in each photo), ``expected.jsonl`` (the refusals that are expected) and ``contact_sheet.png``.
All files depend on the seed only; photos that exist are kept.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from demo_shop import DemoWorld
from jobs.datasets.contact_sheet import write_contact_sheet
from jobs.datasets.demo_broken import (
    BrokenLine,
    choose_reasons,
    choose_spoiled_rows,
    list_sound_photos,
    make_broken_line,
    write_broken_images,
)
from jobs.datasets.demo_days import DailyShares, Listing, PhotoRef, iter_listings
from jobs.datasets.demo_products import PhotoFile, draw_photos
from jobs.errors import MoonError
from validation.reasons import Reason

DEMO_EDITION = 1
"""Raise this when the drawing changes: older folders are then refused instead of mixed with new photos."""

DEMO_MAPPING = """\
# The demo shop's mapping, written by `moon demo-catalog`. docs/mapping.md explains the keys.
format = "jsonl"
id = "id"
title = "title"
description = "description"
category = { column = "category", separator = "/" }
attributes = { column = "attributes" }

[images]
column = "images"
version_column = "image_versions"
base = "."  # paths start at this file's folder
"""


@dataclass(frozen=True)
class DemoSummary:
    """What was written.

    Attributes:
        folder: The shop's folder.
        rows: Lines of each day's catalogue, by date.
        broken: Number of faults by reason, over all days.
        photos: Number of photos in the catalogues.
        drawn: Number of photos that were drawn now.
        seconds: Elapsed seconds.
    """

    folder: Path
    rows: dict[str, int]
    broken: dict[str, int]
    photos: int
    drawn: int
    seconds: float


def write_demo_catalog(
    out: Path,
    *,
    products: int,
    days: int,
    seed: int,
    start: date,
    shares: DailyShares | None = None,
    broken: bool = True,
    workers: int | None = None,
    progress: bool = False,
) -> DemoSummary:
    """Write the shop. A repeated call with the same arguments changes nothing; one with more days adds them.

    Args:
        out: The folder, created if missing.
        products: Good products on the first day.
        days: Number of snapshots, on consecutive dates from `start`.
        seed: Seed of all random draws.
        shares: What changes from day to day.
        broken: Whether the shop has faulty rows and images.
        workers: Processes that draw; None: one for each core.
        progress: Whether to show a progress bar on stderr.

    Raises:
        MoonError: The folder has another shop, or a number is out of range.
    """
    began = time.monotonic()
    if products < 1 or days < 1:
        raise MoonError(f"a demo shop needs at least one product and one day, not {products} and {days}")
    shares = shares or DailyShares()
    _claim_folder(
        out, {"edition": DEMO_EDITION, "seed": seed, "products": products, "broken": broken, **vars(shares)}, start
    )
    world = DemoWorld(seed)
    photos: set[PhotoRef] = set()
    expected: list[dict[str, Any]] = []
    rows = {}
    for day, listings in enumerate(iter_listings(world, products, days, shares)):
        name = (start + timedelta(days=day)).isoformat()
        lines, refused = _make_day(world, listings, choose_reasons(products, day) if broken else [], day)
        photos.update(chain.from_iterable(listing.photos(world) for listing in listings))
        photos.update(PhotoRef(i, n, 0) for _, broken_row in refused for i, n in list_sound_photos(broken_row.reason))
        _write(out / name / "catalog.jsonl", lines)
        expected += [{"date": name, **broken_row.to_expected(at)} for at, broken_row in refused]
        rows[name] = len(lines)
    if broken:
        write_broken_images(out, world)
    drawn = _draw_missing(out, world, sorted(photos), workers, progress)
    _write(out / "expected.jsonl", [json.dumps(entry, ensure_ascii=False) for entry in expected])
    write_contact_sheet(out, world)
    counts = dict(Counter(entry["reason"] for entry in expected))
    return DemoSummary(out, rows, counts, len(photos), drawn, time.monotonic() - began)


def _claim_folder(out: Path, settings: dict[str, Any], start: date) -> None:
    """Write the shop's settings into the folder; raise MoonError if it has another shop or other files."""
    settings = {**settings, "start": start.isoformat()}
    note = out / "demo.json"
    if note.is_file():
        there = json.loads(note.read_text(encoding="utf-8"))
        if there != settings:
            other = ", ".join(f"{key} {there.get(key)}" for key in settings if there.get(key) != settings[key])
            raise MoonError(f"{out} holds another demo shop ({other}); take another --out, or delete the folder")
    elif out.is_dir() and any(out.iterdir()):
        raise MoonError(f"{out} holds files that are no demo shop; take another --out")
    (out / "images").mkdir(parents=True, exist_ok=True)
    _write(note, [json.dumps(settings)])
    _write(out / "mapping.toml", DEMO_MAPPING.splitlines())


def _make_day(
    world: DemoWorld, listings: list[Listing], reasons: list[Reason], day: int
) -> tuple[list[str], list[tuple[int, BrokenLine]]]:
    """Return the lines of a day's catalogue, faulty ones spread over it, and (source row, line) of the faulty ones."""
    rows = [listing.row(world) for listing in listings]
    spoilers = choose_spoiled_rows(rows, reasons, day)
    after: dict[int, list[BrokenLine]] = {}
    for place, reason in enumerate(reasons):
        if reason not in spoilers:
            at = place * len(rows) // len(reasons)
            after.setdefault(at, []).append(make_broken_line(reason, world, rows[0]["id"]))
    spoiled = {at: make_broken_line(reason, world, "", rows[at]) for reason, at in spoilers.items()}
    lines: list[str] = []
    refused: list[tuple[int, BrokenLine]] = []
    for at, row in enumerate(rows):
        here: list[BrokenLine | None] = [spoiled.get(at), *after.get(at, ())]
        for broken in here:
            if broken is not None:
                refused.append((len(lines), broken))
            lines.append(json.dumps(row, ensure_ascii=False) if broken is None else broken.line)
    return lines, refused


def _draw_missing(out: Path, world: DemoWorld, photos: list[PhotoRef], workers: int | None, progress: bool) -> int:
    """Draw the photos that do not exist yet, write boxes.jsonl, and return how many were drawn."""
    boxes = _read_boxes(out / "boxes.jsonl")
    missing = [p for p in photos if p.path(world) not in boxes or not (out / p.path(world)).is_file()]
    files = [PhotoFile(out / p.path(world), world.get_product(p.index), p.number, p.revision) for p in missing]
    boxes |= {entry["image"]: entry for entry in draw_photos(files, workers=workers, progress=progress)}
    _write(out / "boxes.jsonl", [json.dumps(boxes[photo.path(world)]) for photo in photos])
    return len(files)


def _read_boxes(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    entries = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {entry["image"]: entry for entry in entries}


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write a text file whole or not at all; a file with the same text is not written."""
    content = "".join(f"{line}\n" for line in lines)
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    unfinished.write_text(content, encoding="utf-8")
    unfinished.replace(path)
