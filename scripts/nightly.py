"""Entry point of ``make nightly``: runs two dates of a demo shop through the Airflow DAG, then three searches.

All files are in ``var/demo`` and are made again at each start. The first date has 500 products, and the second run
processes only the changed ones. Your own lake and collection (``var/lake``, ``var/milvus.db``) are not changed.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow_home import REPOSITORY, airflow_environment

SEED = 7
FIRST_DAY = date(2026, 3, 1)
SEARCHES = ("brown striped t-shirt", "cup for tea")
"""The titles of the two brown striped t-shirts do not say "striped": only their photos show it."""
STAGE_DONE = re.compile(r"(\w+) done in ([\d.]+) s: (.+)")
STAGE_COUNT = re.compile(r"(\d[\d,]*) ([^,]+)")
JOB_LINE = re.compile(r"\[info\s+\] (?:\S+ \S+ (?:INFO|WARNING|ERROR) jobs\.\S+ |(?=moon: ))(.*?)\s+\[airflow\.task\.")
WAITS_FOR_RETRY = "[up_for_retry]"
"""Text in Airflow's output before a retry; the demo then ends, because Airflow would wait for minutes."""

print_now = partial(print, flush=True)


@dataclass
class NightTimes:
    """Times and rows of one date.

    Attributes:
        wall_seconds: elapsed seconds.
        stage_seconds: seconds in each stage.
        row_counts: counts of the last stage that reports any.
    """

    wall_seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    row_counts: dict[str, int] = field(default_factory=dict)

    @property
    def work_seconds(self) -> float:
        """Seconds in all stages; the rest is Airflow, three JVMs with Spark sessions, and imports."""
        return sum(self.stage_seconds.values())


class DemoRun:
    """The demo's folders, and the commands that run on them.

    Args:
        root: folder of all files of the demo.
        products: number of products of the demo shop.
    """

    def __init__(self, root: Path, products: int) -> None:
        self.root = root
        self.products = products
        self.catalog = root / "catalog"
        self.log = root / "nights.log"
        lake = str(root / "lake")
        milvus = str(root / "milvus.db")
        self.stores = ["--lake", lake, "--milvus", milvus]
        self.environment = airflow_environment(root / "airflow") | {
            "MOON_LAKE": lake, "MOON_MILVUS": milvus, "MOON_TIMEZONE": "UTC", "MOON_SNAPSHOT_OFFSET_DAYS": "0",
            "MOON_DEADLINE_HOURS": "0",  # `airflow dags test` fails on deadlines, see dags/deadline.py
        }  # fmt: skip

    def run_moon(self, *arguments: str) -> str:
        """Run the `moon` command and return its output; its log goes to the log file."""
        return self._run([str(REPOSITORY / ".venv/bin/moon"), *arguments])

    def run_airflow(self, *arguments: str) -> str:
        """Run an Airflow command in the demo's own home and return its output."""
        return self._run([str(REPOSITORY / ".venv-airflow/bin/airflow"), *arguments])

    def _run(self, command: Sequence[str]) -> str:
        with self.log.open("a") as log:
            answer = subprocess.run(
                command, check=False, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
            log.write(answer.stdout)
        if answer.returncode:
            raise SystemExit(
                f"nightly: {' '.join(command)} failed with exit status {answer.returncode}; see {self.log}"
            )
        return answer.stdout

    def stream_airflow(self, *arguments: str) -> Iterator[str]:
        """Run an Airflow command and yield its output line by line; the log file gets it too."""
        command = [str(REPOSITORY / ".venv-airflow/bin/airflow"), *arguments]
        with self.log.open("a") as log:
            process = subprocess.Popen(
                command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert process.stdout is not None  # noqa: S101 - for the type checker
            for line in process.stdout:
                log.write(line)
                yield line.rstrip()
                if WAITS_FOR_RETRY in line:
                    process.kill()
                    break
        if process.wait():
            raise SystemExit(f"nightly: the DAG run failed; the error is above, the whole log in {self.log}")


def create_clean_folder(root: Path) -> None:
    """Make an empty folder; the folder of an earlier demo is replaced, any other one is refused."""
    marker = root / ".moon-demo"
    if root.exists() and any(root.iterdir()) and not marker.exists():
        raise SystemExit(f"nightly: {root} was not made by this command and is kept: move it, or pass another --root")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    marker.touch()


def prepare_demo(demo: DemoRun, days: int) -> None:
    """Make everything that the runs need: the drawn shop, and an Airflow database with our pools."""
    create_clean_folder(demo.root)
    print_now(f"Drawing a shop of {demo.products} products over {days} days into {shorten_path(demo.catalog)}")
    options = {"--products": demo.products, "--days": days, "--seed": SEED, "--start": FIRST_DAY}
    demo.run_moon("demo-catalog", f"--out={demo.catalog}", *(f"{name}={value}" for name, value in options.items()))
    print_now(f"Making an Airflow database in {shorten_path(demo.root / 'airflow')}")
    demo.run_airflow("db", "migrate")
    demo.run_airflow("pools", "import", str(REPOSITORY / "dags" / "pools.json"))


def run_night(demo: DemoRun, day: date) -> NightTimes:
    """Run one date through the DAG, print the jobs' messages, and return times and rows."""
    parameters = {"catalog": f"{demo.catalog}/{{date}}/catalog.jsonl", "mapping": f"{demo.catalog}/mapping.toml"}
    print_now(f"\nNight {day}: airflow dags test moon_nightly {day}")
    started = time.monotonic()
    night = NightTimes()
    for line in demo.stream_airflow("dags", "test", "moon_nightly", day.isoformat(), "--conf", json.dumps(parameters)):
        message = JOB_LINE.search(line)
        text = message.group(1).removeprefix(f"{day} ") if message else ""
        if done := STAGE_DONE.fullmatch(text):
            rows = {name: int(count.replace(",", "")) for count, name in STAGE_COUNT.findall(done.group(3))}
            night.stage_seconds[done.group(1)] = float(done.group(2))
            night.row_counts = rows or night.row_counts
        if text:
            print_now(f"{time.monotonic() - started:6.0f} s  {text}")
    night.wall_seconds = time.monotonic() - started
    return night


def format_counts(rows: dict[str, int]) -> str:
    """Return counts as text: ``500 delivered, 3 quarantined``."""
    return ", ".join(f"{count} {name}" for name, count in rows.items()) or "nothing to count"


def print_summary(nights: dict[date, NightTimes]) -> None:
    """Print rows, seconds in stages and seconds outside them for each date and in total."""
    for day, night in nights.items():
        print_now(f"\nNight {day}")
        print_now(f"  rows      {format_counts(night.row_counts)}")
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in night.stage_seconds.items())
        print_now(f"  work      {night.work_seconds:5.0f} s in stages: {stages}")
        overhead = night.wall_seconds - night.work_seconds
        print_now(f"  overhead  {overhead:5.0f} s outside them: Airflow, three JVMs with Spark, imports")
    wall = sum(night.wall_seconds for night in nights.values())
    work = sum(night.work_seconds for night in nights.values())
    print_now(f"\n{len(nights)} nights in {wall:.0f} s: {work:.0f} s of work, {wall - work:.0f} s of overhead")


def run_searches(demo: DemoRun) -> None:
    """Print the results of three searches: two texts, and a photo of the best hit of the second."""
    best = [run_search(demo, text)[0]["product_id"] for text in SEARCHES]
    run_search(demo, "--image", str(max((demo.catalog / "images").glob(f"{best[-1]}-*.jpg"))))


def run_search(demo: DemoRun, *query: str) -> list[dict[str, Any]]:
    """Print a search command and its three hits, and return the hits."""
    print_now(f"\nmoon search {' '.join(quote_argument(part) for part in query)} --k 3")
    hits: list[dict[str, Any]] = json.loads(demo.run_moon("search", *query, "--k", "3", *demo.stores, "--json"))
    for hit in hits:
        print_now(f"  {hit['score']:.3f}  {hit['product_id']:<14} {hit['title']}")
    return hits


def quote_argument(argument: str) -> str:
    """Return an argument as it is typed in a shell in the repository's root."""
    return shlex.quote(shorten_path(Path(argument)) if argument.startswith("/") else argument)


def print_next_steps(demo: DemoRun) -> None:
    """Print the files and commands that a new user can look at next."""
    stores = " ".join(quote_argument(part) for part in demo.stores)
    print_now("\nWhere to look next")
    for folder, words in (("_reports", "the report of a run"), ("_data_docs", "the checks of the gate")):
        for page in sorted((demo.root / "lake" / folder).rglob("*.html")):
            print_now(f"  {shorten_path(page)}: {words}")
    print_now(f"  {shorten_path(demo.catalog / 'contact_sheet.png')}: the shop at a glance")
    print_now(f"  {shorten_path(demo.log)}: the output of Airflow and Spark")
    print_now(f'  .venv/bin/moon search "your words" {stores}')
    print_now(f"  .venv/bin/moon status {stores}")
    milvus, pictures = demo.root / "milvus.db", f"{demo.catalog}/images/{{product_id}}-0-*.jpg"
    options = f"--milvus {quote_argument(str(milvus))} --pictures {quote_argument(pictures)}"
    print_now(f"  .venv/bin/python examples/service.py {options}: a page to search on")
    print_now('  README.md, "Your own catalogue"')


def shorten_path(path: Path) -> str:
    """Return a path relative to the repository's root, if it is in there."""
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


def main() -> None:
    """Run the demo from an empty folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=500)
    parser.add_argument("--days", type=int, default=2)
    root = REPOSITORY / "var" / "demo"
    parser.add_argument("--root", type=Path, default=root, help="folder of the demo, emptied at each start")
    options = parser.parse_args()
    demo = DemoRun(options.root.resolve(), options.products)
    prepare_demo(demo, options.days)
    days = [FIRST_DAY + timedelta(days=number) for number in range(options.days)]
    nights = {day: run_night(demo, day) for day in days}
    print_summary(nights)
    run_searches(demo)
    print_next_steps(demo)


if __name__ == "__main__":
    main()
