"""``python -m tests.faults``: the sets of the fault harness that take long; what was tried before is skipped.

Results are appended to ``var/faults/<set>.jsonl``; remove a file to try its set again. A set ends with a summary, and
the exit status is 1 if a state differed from that of a clean run.
"""

import argparse
import logging
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.settings import REPOSITORY, Settings
from jobs.spark.session import open_spark_session
from tests.faults.case import Case, draw_combinations, list_single_faults
from tests.faults.journal import Journal
from tests.faults.kills import list_kills, try_kill
from tests.faults.one_jvm import FaultBench
from tests.faults.points import FaultFolder, watch_points
from tests.faults.server import ServerBench
from tests.faults.shop import FaultShop
from tests.image_host import open_image_host
from tests.milvus_server import milvus_server

SETS = ("jvm", "kills", "server", "random")
FIXED_SEEDS = (1, 2, 3)


@contextmanager
def open_bench(folder: Path) -> Iterator[FaultBench]:
    """Yield a bench with both nights recorded, in a session of its own."""
    with open_image_host() as host:
        shop = FaultShop(folder / "shop", host)
        settings = Settings(_env_file=None, lake=str(folder / "spark" / "lake"), spark_memory="1g")
        with open_spark_session(settings, "faults") as spark:
            spark.sparkContext.setLogLevel("OFF")  # each fault would print its trace
            spark.conf.set("spark.sql.shuffle.partitions", "2")
            faults = FaultFolder(folder / "points")
            with watch_points(spark, faults):
                bench = FaultBench(spark, shop, folder / "bench", faults)
                bench.record()
                yield bench


def try_cases(bench: FaultBench, journal: Journal, cases: Iterable[Case]) -> bool:
    """Try the cases that were not tried yet; return whether all are as they must be."""
    wanted = list(cases)
    left = [case for case in wanted if not journal.has(case.name)]
    for number, case in enumerate(left):
        journal.add(bench.try_case(case), len(left) - number - 1)
    return journal.summarise(case.name for case in wanted)


def try_kills(bench: FaultBench, journal: Journal, count: int, folder: Path) -> bool:
    """Kill stages of the command line."""
    cases = list_kills(bench, count)
    left = [case for case in cases if not journal.has(case.name)]
    for number, case in enumerate(left):
        journal.add(try_kill(bench, case, folder), len(left) - number - 1)
    return journal.summarise(case.name for case in cases)


def try_networks(bench: FaultBench, journal: Journal, seeds: int, folder: Path) -> bool:
    """Serve a night on a real server over networks that fail."""
    folder.mkdir()
    with milvus_server(folder) as uri:
        server = ServerBench(bench, uri)
        cases = server.list_cases(seeds)
        left = [name for name in cases if not journal.has(name)]
        for number, name in enumerate(left):
            journal.add(server.try_case(name, cases[name]), len(left) - number - 1)
    return journal.summarise(cases)


def main() -> int:
    """Try the chosen sets and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], help="sets to try; all without one")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "var" / "faults", help="folder of the results")
    parser.add_argument("--count", type=int, default=300, help="single faults in one JVM")
    parser.add_argument("--kills", type=int, default=40, help="stages of the command line that are killed")
    parser.add_argument("--networks", type=int, default=3, help="seeds of each network that fails")
    parser.add_argument("--combinations", type=int, default=10, help="random combinations of each seed")
    parser.add_argument("--seed", type=int, help="the fresh seed of an earlier run, to repeat its combinations")
    given = parser.parse_args()
    sets, is_good = given.sets or SETS, True
    logging.basicConfig(level=logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="moon-faults-") as folder, open_bench(Path(folder)) as bench:
        reached = sum(map(len, bench.reached.values()))
        print(f"two nights reach {reached} points, by name {len(bench.list_names())}", flush=True)
        if "jvm" in sets:
            cases = list_single_faults(bench.reached, count=given.count)
            is_good &= try_cases(bench, Journal(given.out, "jvm"), cases)
        if "kills" in sets:
            is_good &= try_kills(bench, Journal(given.out, "kills"), given.kills, Path(folder))
        if "server" in sets:
            is_good &= try_networks(bench, Journal(given.out, "server"), given.networks, Path(folder) / "server")
        if "random" in sets:
            fresh = given.seed or random.SystemRandom().randrange(1_000_000)
            for seed in (*FIXED_SEEDS, fresh):
                print(f"combinations of seed {seed}", flush=True)
                journal = Journal(given.out, f"random-{seed}")
                is_good &= try_cases(bench, journal, draw_combinations(bench.reached, seed, given.combinations))
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
