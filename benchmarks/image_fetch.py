"""Measures the speed of fetching images against a bare asynchronous client, with the same photos and loopback server.

The bare client reads the bodies and discards them; a second one hashes them and writes them into one file. The fetch
task checks addresses and headers, hashes and packs the bodies, and writes a row for every response. The stage adds
Spark: it selects the images that are due, commits, and adds image versions to the products.
"""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import IO, Any

import aiohttp
import pyarrow as pa
from aiohttp import web

from benchmarks.processes import watch_memory
from demo_shop.scene import save_jpeg
from jobs.images.fetch_task import FetchJob, run_fetch_task
from jobs.images.fetcher import make_policy
from jobs.lake.storage import Storage
from jobs.lake.store import open_lake
from jobs.settings import Settings
from jobs.spark.session import open_spark_session
from jobs.stages.runner import run_stages
from jobs.state.run_context import RunContext

CONNECTIONS = 16
DATE = "2026-03-01"
_RESULTS = Path(__file__).resolve().parent / "results"


def main() -> int:
    """Run all measurements and write ``benchmarks/results/image_fetch.json`` and ``.md`` (or another name)."""
    options = _build_parser().parse_args()
    with nullcontext(options.address) if options.address else _run_server() as url:
        loads = [os.getloadavg()[0]]
        runs = [_measure_round(url, options.photos) for _ in range(options.rounds)]
        loads.append(os.getloadavg()[0])
        memory = {count: _measure_stage(url, count)["mib"] for count in options.memory}
    result = {
        "photos": options.photos,
        "rounds": options.rounds,
        "photos_per_second": {name: median(run[name]["rate"] for run in runs) for name in runs[0]},
        "client_cpu_microseconds": {
            name: median(run[name]["cpu"] for run in runs) for name in runs[0] if "cpu" in runs[0][name]
        },
        "load": [round(load, 1) for load in loads],
        "memory_mib": memory,
        "machine": f"{os.cpu_count()} CPUs ({platform.machine()}), python {platform.python_version()}, "
        f"aiohttp {aiohttp.__version__}",
        "command": " ".join(["python -m benchmarks.image_fetch", *sys.argv[1:]]),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (_RESULTS / f"{options.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (_RESULTS / f"{options.name}.md").write_text(_render_page(result))
    print(_render_page(result))
    return 0


def make_address(template: str, number: int) -> str:
    """Return the address of a photo; ``{photo}`` in the template is a number from 1 to 100."""
    return template.replace("{number}", str(number)).replace("{photo}", str(number % 100 + 1))


def find_root(template: str) -> str:
    """Return the root that allows all addresses of a template."""
    return "/".join(template.split("/")[:3]) + "/"


def _measure_round(url: str, photos: int) -> dict[str, dict[str, float]]:
    """Return photos per second and the client's CPU microseconds per photo, for each way to fetch them."""
    return {
        "bare client": _measure_rate(photos, lambda: _time_bare_client(url, photos)),
        "bare client that keeps the photos": _measure_rate(photos, lambda: _time_bare_client(url, photos, keep=True)),
        "fetch task": _measure_rate(photos, lambda: _time_task(url, photos)),
        # Its CPU is that of other processes: the JVM's and a worker's.
        "stage fetch": {"rate": photos / _measure_stage(url, photos)["seconds"]},
    }


def _measure_rate(photos: int, fetch: Callable[[], float]) -> dict[str, float]:
    began = time.process_time()
    seconds = fetch()
    return {"rate": photos / seconds, "cpu": (time.process_time() - began) / photos * 1e6}


def _time_bare_client(url: str, photos: int, *, keep: bool = False) -> float:
    """Return the seconds that a bare client takes, with as many connections as the stage has.

    Args:
        url: template of the addresses.
        photos: number of photos.
        keep: whether it computes the SHA-256 of each body and appends the body to one file, as a user's script would.
    """

    async def fetch_all(target: IO[bytes] | None) -> None:
        slots = asyncio.Semaphore(CONNECTIONS)

        async def fetch(number: int) -> None:
            async with slots, session.get(make_address(url, number)) as response:
                body = await response.read()
            if target is not None:
                hashlib.sha256(body).hexdigest()
                target.write(body)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
            await asyncio.gather(*map(fetch, range(photos)))

    with tempfile.TemporaryFile() if keep else nullcontext() as target:
        began = time.monotonic()
        asyncio.run(fetch_all(target))
        return time.monotonic() - began


def _time_task(url: str, photos: int) -> float:
    """Return the seconds that the work of one Spark task takes, without Spark."""
    none = pa.nulls(photos, pa.string())
    zeros = pa.array([0] * photos, pa.int32())
    names = ["uri", "given_version", "host", "etag", "last_modified", "image_sha256", "failed_nights", "missing_nights"]
    uris = pa.array([make_address(url, number) for number in range(photos)])
    batch = pa.RecordBatch.from_arrays([uris, none, none, none, none, none, zeros, zeros], names)
    with tempfile.TemporaryDirectory() as folder:
        policy = make_policy(Settings(_env_file=None), (find_root(url),))
        job = FetchJob(Storage(folder), policy, DATE, 3600.0, 0)
        began = time.monotonic()
        list(run_fetch_task([batch], job))
        return time.monotonic() - began


def _measure_stage(url: str, photos: int) -> dict[str, Any]:
    """Return the seconds of the stage in a shop's first run, and the peak memory of each kind of process."""
    with tempfile.TemporaryDirectory() as folder:
        catalog = Path(folder) / "products.jsonl"
        (Path(folder) / "mapping.toml").write_text('id = "id"\ntitle = "title"\nimages = "photo"\n')
        rows = ({"id": str(n), "title": f"Product {n}", "photo": make_address(url, n)} for n in range(photos))
        catalog.write_text("\n".join(map(json.dumps, rows)))
        settings = Settings(
            _env_file=None, lake=f"{folder}/lake", catalog=str(catalog), allowed_roots=(find_root(url),)
        )
        with open_spark_session(settings, "benchmark") as spark, watch_memory() as peaks:
            outcome = run_stages(RunContext(spark, open_lake(settings), settings, DATE), ("pull", "validate", "fetch"))
        return {"seconds": outcome.seconds["fetch"], "mib": {kind: round(mib) for kind, mib in peaks.mib.items()}}


@contextmanager
def _run_server() -> Iterator[str]:
    """Yield the address of a loopback server of photos, which runs in a process of its own."""
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_serve, args=(ports,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ports.get()}/{{number}}.jpg"
    finally:
        process.terminate()
        process.join()


def _serve(ports: "multiprocessing.Queue[int]") -> None:
    """Answer every path with a photo of about 68 KB that differs from path to path behind its end marker."""
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    path = Path(tempfile.mkdtemp()) / "photo.jpg"
    save_jpeg(Image.fromarray(pixels).resize((384, 384)), path)
    photo = path.read_bytes()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=photo + request.path.encode(), headers={"ETag": f'"{request.path}"'})

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/{name}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ports.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


def _render_page(result: dict[str, Any]) -> str:
    rates, cpu = result["photos_per_second"], result["client_cpu_microseconds"]
    bare = rates["bare client"]
    lines = [
        "# Fetching photos from a loopback server",
        "",
        f"{result['photos']:,} photos, {result['rounds']} rounds in turn, medians; {CONNECTIONS} connections. Wanted "
        "for the task: ≥ 0.70 of the bare client.",
        "",
        "| what | photos/s | of the bare client | client's CPU, µs a photo |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {rate:,.0f} | {rate / bare:.2f} | {f'{cpu[name]:.0f}' if name in cpu else ''} |"
            for name, rate in rates.items()
        ),
        "",
        "| peak MiB | driver | JVM | worker |",
        "|---|---:|---:|---:|",
        *(
            f"| {int(count):,} photos | {mib.get('driver')} | {mib.get('jvm')} | {mib.get('worker')} |"
            for count, mib in result["memory_mib"].items()
        ),
        "",
        f"{result['machine']}; load average {' to '.join(map(str, result['load']))}. `{result['command']}`, "
        f"{result['measured_at']}.",
        "",
        "Where the task's time goes: [image_fetch_profile.md](image_fetch_profile.md).",
        "",
    ]
    return "\n".join(lines)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.prog = "python -m benchmarks.image_fetch"
    parser.add_argument("--photos", type=int, default=10_000, help="photos of the speed runs (default: 10,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    parser.add_argument("--memory", type=int, nargs="*", default=[1000, 10_000], help="photos of the memory runs")
    parser.add_argument(
        "--address",
        metavar="TEMPLATE",
        help="photos of a server that runs already, such as 'http://127.0.0.1:28541/ok/{photo}.webp?n={number}'; the "
        "results get the name of --name",
    )
    parser.add_argument("--name", default="image_fetch", help="name of the result files (default: image_fetch)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
