"""Time of a first `moon search` with a text, as a multiple of what importing torch and pymilvus takes.

Both are new processes, in turn, on the same machine. The search opens the collection, encodes the text and prints hits.

    python -m benchmarks.search_start --lake var/demo/lake --milvus var/demo/milvus.db       # after `make nightly`
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

_RESULTS = Path(__file__).resolve().parent / "results"
WANTED = 1.5
IMPORTS = ("-c", "import torch, pymilvus")
SEARCH = ("-m", "jobs.cli", "search", "red shirt", "--json")


@dataclass(frozen=True)
class Cost:
    """Cost of one process.

    Attributes:
        seconds: elapsed seconds.
        cpu_seconds: processor seconds, which a busy machine changes less.
    """

    seconds: float
    cpu_seconds: float


def main() -> int:
    """Measure, write ``benchmarks/results/search_start.json`` and ``.md``, and return 1 if the search is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--milvus", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    search = (*SEARCH, "--lake", options.lake, "--milvus", options.milvus)
    measure_process(IMPORTS), measure_process(search)  # the first reads files from the disk
    rounds = [(measure_process(IMPORTS), measure_process(search)) for _ in range(options.rounds)]
    result = summarise(rounds)
    name = _RESULTS / "search_start"
    name.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    name.with_suffix(".md").write_text(render(result))
    print(render(result))
    return int(result["ratio"] > WANTED)


def measure_process(arguments: tuple[str, ...]) -> Cost:
    """Return the cost of a Python process with these arguments; raise RuntimeError if it fails."""
    start = time.perf_counter()
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ, file_actions=silent)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(arguments)} failed")
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime)


def summarise(rounds: list[tuple[Cost, Cost]]) -> dict[str, Any]:
    """Return medians and their ratios; each round is the cost of the imports and that of the search."""
    imports, searches = zip(*rounds, strict=True)
    cost = {
        name: {key: round(median(asdict(one)[key] for one in costs), 2) for key in ("seconds", "cpu_seconds")}
        for name, costs in (("imports", imports), ("search", searches))
    }
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}",
        "packages": {name: version(name) for name in ("torch", "pymilvus", "milvus-lite")},
        "rounds": len(rounds),
        **cost,
        "ratio": round(median(search.seconds / bare.seconds for bare, search in rounds), 2),
        "cpu_ratio": round(median(search.cpu_seconds / bare.cpu_seconds for bare, search in rounds), 2),
    }


def render(result: dict[str, Any]) -> str:
    """Return the result as a Markdown page."""
    imports, search = result["imports"], result["search"]
    return f"""# Start of `moon search`

`python -m benchmarks.search_start`, {result["date"]}, {result["machine"]}.
Medians of {result["rounds"]} rounds in turn.

| process | seconds | processor seconds |
|---|---|---|
| `import torch, pymilvus` | {imports["seconds"]} | {imports["cpu_seconds"]} |
| `moon search "red shirt"` on the demo collection | {search["seconds"]} | {search["cpu_seconds"]} |
| search / imports | **{result["ratio"]}** | {result["cpu_ratio"]} |

Wanted: at most {WANTED}. A search with a photo loads the whole model with torch and takes longer.
"""


if __name__ == "__main__":
    sys.exit(main())
