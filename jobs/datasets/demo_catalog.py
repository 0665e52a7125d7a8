"""``moon demo-catalog``: write a made-up shop as catalogue snapshots with photos, day by day.

The folder holds ``<date>/catalog.jsonl`` for each day, ``images/``, ``mapping.toml``, ``boxes.jsonl`` (where the
product truly is in each photo), ``expected.jsonl`` (what was broken on purpose) and ``contact_sheet.png``.
Everything follows from the seed; photos that are there already are kept as they are.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from demo_shop import DemoWorld, save_jpeg, take_photo
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
from jobs.errors import MoonError
from validation.reasons import Reason

DEMO_EDITION = 1
"""Raise this when the drawing changes: older folders are then refused instead of mixed with new photos."""

MAX_SERIAL_PHOTOS = 48  # photos that one process draws faster than a second one starts

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
        broken: How often each reason occurs, over all days.
        photos: Photos that the catalogues name; `drawn` of them are new.
        seconds: Wall time.
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
    """Write the shop; again with the same arguments changes nothing, with more days adds to it.

    Args:
        out: The folder; made where it is missing.
        products: Good products on the first day.
        days: Number of snapshots, on consecutive dates from `start`.
        seed: Decides everything.
        shares: What changes from day to day.
        broken: Whether to put in rows that must be refused.
        workers: Processes that draw; None: one for each core.
        progress: Show a bar on stderr.

    Raises:
        MoonError: The folder holds another shop, or a number is out of range.
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
    drawn = _draw_all(out, world, sorted(photos), workers or len(os.sched_getaffinity(0)), progress)
    _write(out / "expected.jsonl", [json.dumps(entry, ensure_ascii=False) for entry in expected])
    write_contact_sheet(out, world)
    counts = dict(Counter(entry["reason"] for entry in expected))
    return DemoSummary(out, rows, counts, len(photos), drawn, time.monotonic() - began)


def _claim_folder(out: Path, settings: dict[str, Any], start: date) -> None:
    """Make the folder this shop's, or refuse one that holds something else."""
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
    """Return the lines of a day's catalogue, broken ones spread over it, and (source row, line) of those."""
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


def _draw_all(out: Path, world: DemoWorld, photos: list[PhotoRef], workers: int, progress: bool) -> int:
    """Draw the photos that are not there yet, write boxes.jsonl, and return how many were drawn."""
    boxes = _read_boxes(out / "boxes.jsonl")
    missing = [p for p in photos if p.path(world) not in boxes or not (out / p.path(world)).is_file()]
    jobs = [(out, world.seed, photo) for photo in missing]
    columns = (TextColumn("drawing photos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not (progress and jobs)) as bar:
        for name, entry in bar.track(_draw_in_processes(jobs, workers), total=len(jobs)):
            boxes[name] = entry
    _write(out / "boxes.jsonl", [json.dumps(boxes[photo.path(world)]) for photo in photos])
    return len(jobs)


def _draw_in_processes(jobs: list[tuple[Path, int, PhotoRef]], workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if workers == 1 or len(jobs) < MAX_SERIAL_PHOTOS:
        yield from map(_draw, jobs)
        return
    # spawn, not fork: a caller may hold threads (Spark's gateway, a progress bar) that a fork would freeze
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_draw, jobs, chunksize=8)


def _draw(job: tuple[Path, int, PhotoRef]) -> tuple[str, dict[str, Any]]:
    """Draw one photo into its file (whole or not at all) and return its path and line of boxes.jsonl."""
    out, seed, photo = job
    world = DemoWorld(seed)
    product = world.get_product(photo.index)
    name = photo.path(world)
    picture = take_photo(product, photo.number, revision=photo.revision)
    save_jpeg(picture.image, out / name)
    width, height = picture.image.size
    box = [round(v, 5) for v in picture.box]
    return name, {
        "image": name, "product_id": product.id, "width": width, "height": height, "box": box,
        "cluttered": picture.is_cluttered,
    }  # fmt: skip


def _read_boxes(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    entries = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {entry["image"]: entry for entry in entries}


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write a text file whole or not at all; leave one that says the same as it is."""
    content = "".join(f"{line}\n" for line in lines)
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    unfinished.write_text(content, encoding="utf-8")
    unfinished.replace(path)
