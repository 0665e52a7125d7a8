"""Products a second from JPEG bytes to vectors, detection included: the bare loop, without Spark.

Each process has one torch thread and one ONNX Runtime thread, as a Spark worker has. All of them load and warm up,
then start together. ``cpu ms`` is processor time a product, which a busy machine disturbs less than the clock.

    python benchmarks/encode_speed.py --processes 2 --dtype float32
    python benchmarks/encode_speed.py --processes 2 --dtype bfloat16 --images 3
    python benchmarks/encode_speed.py --default-allocator       # what the MALLOC_ variables are worth
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

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
    """One process: products, mean tokens, seconds by the clock, and processor milliseconds a product by stage."""

    products: int
    tokens: float
    seconds: float
    prepare_ms: float
    encode_ms: float


def make_products(count: int, images: int, size: int) -> list[Product]:
    """Demo products with encoded photos in memory, so that no disk is measured."""
    world = DemoWorld(5)
    products = []
    for index in range(count):
        item = world.product(index)
        photos = [encode_jpeg(take_photo(item, number, size=size).image) for number in range(images)]
        products.append(Product(item.id, item.title, item.description, item.category, dict(item.attributes), photos))
    return products


def measure_process(arguments: argparse.Namespace) -> Timing:
    """Load, warm up, wait for the start signal, measure."""
    torch.set_num_threads(1)
    encoder = MoonEncoder.from_pretrained(dtype=arguments.dtype, device="cpu")
    products = make_products(arguments.products, arguments.images, arguments.size)
    encoder.encode(products[:_CHUNK])
    print("ready", flush=True)
    sys.stdin.readline()
    prepare = encode = 0.0
    tokens, start = 0, time.perf_counter()
    for first in range(0, len(products), _CHUNK):
        before = time.process_time()
        prepared = [encoder.prepare(product) for product in products[first : first + _CHUNK]]
        between = time.process_time()
        encoder.encode_prepared(prepared)
        prepare, encode = prepare + between - before, encode + time.process_time() - between
        tokens += sum(item.num_tokens for item in prepared)
    seconds, count = time.perf_counter() - start, len(products)
    return Timing(count, tokens / count, seconds, 1e3 * prepare / count, 1e3 * encode / count)


def measure_processes(arguments: argparse.Namespace) -> list[Timing]:
    """Run the processes side by side."""
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
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--products", type=int, default=128, help="products a process")
    parser.add_argument("--images", type=int, default=1, help="photos a product")
    parser.add_argument("--size", type=int, default=288, help="shorter side of a photo in pixels")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--default-allocator", action="store_true", help="leave glibc's malloc as it is")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main() -> None:
    """Print one line of results, or be one of the workers."""
    arguments = parse_speed_arguments()
    if arguments.worker:
        print(json.dumps(asdict(measure_process(arguments))))
        return
    timings = measure_processes(arguments)
    total = sum(timing.products for timing in timings)
    prepare, encode, tokens = (
        sum(getattr(timing, name) for timing in timings) / len(timings)
        for name in ("prepare_ms", "encode_ms", "tokens")
    )
    print(
        f"{total / max(timing.seconds for timing in timings):.1f} products/s · {len(timings)} processes · "
        f"{arguments.dtype} · {arguments.images} image(s) · {tokens:.0f} tokens · cpu ms a product: "
        f"{prepare:.1f} prepare + {encode:.1f} encode = {len(timings) * 1e3 / (prepare + encode):.1f}/s if undisturbed "
        f"· load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
