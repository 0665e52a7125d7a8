"""The same model without Spark: bare loops over ready tensors, and a plain Python loop from JPEG bytes."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.workload import build_workload_settings, read_encode_rows
from jobs.spark.session import WORKER_ENVIRONMENT
from schemas.uri import folder_uri

DISTINCT_PRODUCTS = 256
"""Products whose tensors a bare loop holds; it goes round until its share is done (a view is 0.6 MB)."""

CHUNK_PRODUCTS = 64
"""Products sorted by length and batched together, as in the stage."""


@dataclass(frozen=True)
class LoopSpeed:
    """Products a second of all processes together, and CPU seconds a product."""

    products_per_second: float
    cpu_seconds_per_product: float


def measure_bare_loops(folder: Path, products: int, processes: int) -> LoopSpeed:
    """Run the model over ready tensors in several processes at once, one thread each."""
    return _measure(_over_tensors, folder, products, processes)


def measure_plain_loop(folder: Path, products: int) -> LoopSpeed:
    """Read photos, prepare and encode in one process and one thread; regions are known, as in the stage."""
    return _measure(_over_rows, folder, products, 1)


LoopFactory = Callable[[Path, int], Callable[[], int]]
"""Loads what a loop needs and returns the loop, which returns how many products it has encoded."""


def _measure(work: LoopFactory, folder: Path, products: int, processes: int) -> LoopSpeed:
    os.environ.update(WORKER_ENVIRONMENT)  # glibc reads its part once, when a process starts
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.SimpleQueue()
    arguments = (work, folder, products // processes, barrier, results)
    running = [context.Process(target=_loop, args=arguments) for _ in range(processes)]
    for process in running:
        process.start()
    found = [results.get() for _ in running]
    for process in running:
        process.join()
    done = sum(count for count, _, _ in found)
    return LoopSpeed(sum(count / wall for count, wall, _ in found), sum(cpu for _, _, cpu in found) / done)


def _loop(work: LoopFactory, folder: Path, share: int, barrier: Any, results: Any) -> None:
    """Set up, wait for the others, run and report (products, seconds, CPU seconds)."""
    run = work(folder, share)
    barrier.wait()
    wall, cpu = time.monotonic(), time.process_time()
    done = run()
    results.put((done, time.monotonic() - wall, time.process_time() - cpu))


def _over_tensors(folder: Path, share: int) -> Callable[[], int]:
    import torch  # noqa: PLC0415  (only in the loop's own process)

    encoder = _encoder(folder)
    prepared = [_prepare(encoder, row) for row in read_encode_rows(folder, min(share, DISTINCT_PRODUCTS))]
    ready = []
    for start in range(0, len(prepared), CHUNK_PRODUCTS):
        chunk = prepared[start : start + CHUNK_PRODUCTS]
        ready += [(len(places), batch) for places, batch in encoder.iter_batches(chunk)]

    @torch.inference_mode()
    def run() -> int:
        done = 0
        for count, batch in _round_and_round(ready):
            encoder.model(**batch).embedding.numpy()
            done += count
            if done >= share:
                return done
        return done

    encoder.encode_prepared(prepared[:8])  # warm
    return run


def _over_rows(folder: Path, share: int) -> Callable[[], int]:
    encoder, rows = _encoder(folder), read_encode_rows(folder, share)
    encoder.encode_prepared([_prepare(encoder, row) for row in rows[:8]])  # warm

    def run() -> int:
        for start in range(0, len(rows), CHUNK_PRODUCTS):
            encoder.encode_prepared([_prepare(encoder, row) for row in rows[start : start + CHUNK_PRODUCTS]])
        return len(rows)

    return run


def _round_and_round(items: list[Any]) -> Iterator[Any]:
    while items:
        yield from items


def _encoder(folder: Path) -> Any:
    from moon_model.encoder import MoonEncoder  # noqa: PLC0415

    return MoonEncoder.from_pretrained(build_workload_settings(folder).model, threads=1)


def _prepare(encoder: Any, row: dict[str, Any]) -> Any:
    from jobs.stages.encode_task import prepare_item  # noqa: PLC0415

    return prepare_item(row, encoder, (folder_uri("/"),), encoder.max_images).prepared
