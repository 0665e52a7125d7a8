"""Speed of the model without Spark: bare loops over ready tensors, and a plain Python loop from JPEG bytes."""

import itertools
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.workload import build_workload_settings, read_encode_rows
from jobs.spark.session import WORKER_ENVIRONMENT
from schemas.uri import folder_uri

DISTINCT_PRODUCTS = 256
"""Products whose tensors a bare loop keeps in memory and encodes repeatedly (a view takes 0.6 MB)."""

CHUNK_PRODUCTS = 64
"""Products that are sorted by length and batched together, as in the stage."""


LoopSpeed = dict[str, float]
"""``products_per_second`` of all processes together, and ``cpu_seconds_per_product``."""


def measure_bare_loops(folder: Path, products: int, processes: int) -> LoopSpeed:
    """Return the speed of the model on ready tensors, in several processes at once with one thread each.

    Args:
        folder: folder of the workload.
        products: products of all processes together.
        processes: number of processes.
    """
    return _measure(_build_tensor_loop, folder, products, processes)


def measure_plain_loop(folder: Path, products: int) -> LoopSpeed:
    """Return the speed of reading photos, preparing and encoding in one process with one thread.

    Regions are known, as in the stage.

    Args:
        folder: folder of the workload.
        products: number of products.
    """
    return _measure(_build_row_loop, folder, products, 1)


LoopFactory = Callable[[Path, int], Callable[[], int]]
"""Takes a folder and a number of products; returns the loop, a function that returns the number of encoded products."""


def _measure(build_loop: LoopFactory, folder: Path, products: int, processes: int) -> LoopSpeed:
    os.environ.update(WORKER_ENVIRONMENT)  # glibc reads its part once, when a process starts
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    results = context.SimpleQueue()
    arguments = (build_loop, folder, products // processes, barrier, results)
    running = [context.Process(target=_run_loop, args=arguments) for _ in range(processes)]
    for process in running:
        process.start()
    found = [results.get() for _ in running]
    for process in running:
        process.join()
    done = sum(count for count, _, _ in found)
    return {
        "products_per_second": sum(count / wall for count, wall, _ in found),
        "cpu_seconds_per_product": sum(cpu for _, _, cpu in found) / done,
    }


def _run_loop(build_loop: LoopFactory, folder: Path, share: int, barrier: Any, results: Any) -> None:
    """Set up, wait for the other processes, run, and put (products, seconds, CPU seconds) into the results."""
    run = build_loop(folder, share)
    barrier.wait()
    start = time.monotonic()
    cpu = time.process_time()
    done = run()
    results.put((done, time.monotonic() - start, time.process_time() - cpu))


def _build_tensor_loop(folder: Path, share: int) -> Callable[[], int]:
    import torch  # noqa: PLC0415  # only in the loop's own process

    encoder = _load_encoder(folder)
    prepared = [_prepare(encoder, row) for row in read_encode_rows(folder, min(share, DISTINCT_PRODUCTS))]
    ready = []
    for start in range(0, len(prepared), CHUNK_PRODUCTS):
        chunk = prepared[start : start + CHUNK_PRODUCTS]
        ready += [(len(places), batch) for places, batch in encoder.iter_batches(chunk)]

    @torch.inference_mode()
    def run() -> int:
        done = 0
        for count, batch in itertools.cycle(ready):
            encoder.model(**batch).embedding.numpy()
            done += count
            if done >= share:
                break
        return done

    encoder.encode_prepared(prepared[:8])  # warm up
    return run


def _build_row_loop(folder: Path, share: int) -> Callable[[], int]:
    encoder = _load_encoder(folder)
    rows = read_encode_rows(folder, share)
    encoder.encode_prepared([_prepare(encoder, row) for row in rows[:8]])  # warm up

    def run() -> int:
        for start in range(0, len(rows), CHUNK_PRODUCTS):
            encoder.encode_prepared([_prepare(encoder, row) for row in rows[start : start + CHUNK_PRODUCTS]])
        return len(rows)

    return run


def _load_encoder(folder: Path) -> Any:
    from moon_model.encoder import MoonEncoder  # noqa: PLC0415

    return MoonEncoder.from_pretrained(build_workload_settings(folder).model, threads=1)


def _prepare(encoder: Any, row: dict[str, Any]) -> Any:
    from jobs.images.store import ImageReader  # noqa: PLC0415
    from jobs.lake.storage import Storage  # noqa: PLC0415
    from jobs.stages.encode_task import prepare_item  # noqa: PLC0415

    reader = ImageReader(Storage("/"), (folder_uri("/"),))
    return prepare_item(row, encoder, reader, encoder.max_images).prepared
