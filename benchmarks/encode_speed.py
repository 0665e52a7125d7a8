"""Products per second from JPEG bytes to vectors with detection, in processes without Spark.

Each process has one torch thread and one ONNX Runtime thread, like a Spark worker. All processes load the model and
warm up, then start together. ``cpu ms`` is processor time per product; a busy machine changes it less than it changes
the elapsed time.

    python benchmarks/encode_speed.py --processes 2 --dtype float32
    python benchmarks/encode_speed.py --processes 2 --dtype bfloat16 --images 3
    python benchmarks/encode_speed.py --default-allocator       # the effect of the MALLOC_ variables
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from statistics import mean

import torch

from demo_shop.photo import take_photo
from demo_shop.scene import encode_jpeg
from demo_shop.world import DemoWorld
from jobs.spark.session import WORKER_ENVIRONMENT
from moon_model.encoder import MoonEncoder
from moon_model.product import Product

_CHUNK = 64


@dataclass(frozen=True)
class Timing:
    """Result of one process.

    Attributes:
        products: number of products encoded.
        tokens: mean tokens per product.
        seconds: elapsed seconds.
        prepare_ms: processor milliseconds per product for preparation.
        encode_ms: processor milliseconds per product for the model.
    """

    products: int
    tokens: float
    seconds: float
    prepare_ms: float
    encode_ms: float


def make_products(count: int, images: int, size: int) -> list[Product]:
    """Return demo products with JPEG photos in memory, so that no disk is measured.

    Args:
        count: number of products.
        images: photos per product.
        size: shorter side of a photo in pixels.
    """
    world = DemoWorld(5)
    products = []
    for index in range(count):
        one = world.get_product(index)
        photos = [encode_jpeg(take_photo(one, number, size=size).image) for number in range(images)]
        products.append(Product(one.id, one.title, one.description, one.category, dict(one.attributes), photos))
    return products


def measure_process(arguments: argparse.Namespace) -> Timing:
    """Return the timing of this process: load, warm up, wait for a line on stdin, measure."""
    torch.set_num_threads(1)
    encoder = MoonEncoder.from_pretrained(dtype=arguments.dtype, device="cpu")
    products = make_products(arguments.products, arguments.images, arguments.size)
    encoder.encode(products[:_CHUNK])
    print("ready", flush=True)
    sys.stdin.readline()
    prepare = encode = 0.0
    tokens = 0
    start = time.perf_counter()
    for first in range(0, len(products), _CHUNK):
        before = time.process_time()
        prepared = [encoder.prepare(product) for product in products[first : first + _CHUNK]]
        between = time.process_time()
        encoder.encode_prepared(prepared)
        prepare += between - before
        encode += time.process_time() - between
        tokens += sum(item.num_tokens for item in prepared)
    seconds = time.perf_counter() - start
    count = len(products)
    return Timing(count, tokens / count, seconds, 1e3 * prepare / count, 1e3 * encode / count)


def measure_processes(arguments: argparse.Namespace) -> list[Timing]:
    """Return the timings of all processes, run at the same time."""
    keep = not arguments.default_allocator
    environment = os.environ | {k: v for k, v in WORKER_ENVIRONMENT.items() if keep or not k.startswith("MALLOC_")}
    command = [sys.executable, __file__, "--worker", "--dtype", arguments.dtype]
    for name in ("products", "images", "size"):
        command += [f"--{name}", str(getattr(arguments, name))]
    workers = [
        subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(arguments.processes)
    ]
    for worker in workers:
        assert worker.stdout is not None  # noqa: S101  # piped above
        worker.stdout.readline()
    for worker in workers:
        assert worker.stdin is not None  # noqa: S101
        worker.stdin.write("\n")
        worker.stdin.flush()
    return [Timing(**json.loads(worker.communicate()[0])) for worker in workers]


def parse_speed_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--products", type=int, default=128, help="products per process")
    parser.add_argument("--images", type=int, default=1, help="photos per product")
    parser.add_argument("--size", type=int, default=288, help="shorter side of a photo in pixels")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--default-allocator", action="store_true", help="do not set the MALLOC_ variables")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main() -> None:
    """Print one line of results, or measure as one of the processes."""
    arguments = parse_speed_arguments()
    if arguments.worker:
        print(json.dumps(asdict(measure_process(arguments))))
        return
    timings = measure_processes(arguments)
    total = sum(timing.products for timing in timings)
    columns = zip(*((one.prepare_ms, one.encode_ms, one.tokens) for one in timings), strict=True)
    prepare, encode, tokens = map(mean, columns)
    print(
        f"{total / max(timing.seconds for timing in timings):.1f} products/s · {len(timings)} processes · "
        f"{arguments.dtype} · {arguments.images} image(s) · {tokens:.0f} tokens · cpu ms per product: "
        f"{prepare:.1f} prepare + {encode:.1f} encode = {len(timings) * 1e3 / (prepare + encode):.1f}/s if undisturbed "
        f"· load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
