"""What ``make nightly`` shows: two nights of a demo shop through the Airflow DAG, then three searches.

Everything lies in ``var/demo`` and is made anew each time, so every run shows the same: 500 products on the first
night, and on the second only what changed. Your own lake and collection (``var/lake``, ``var/milvus.db``) stay.
"""

import argparse
import ast
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from airflow_home import REPOSITORY, airflow_environment

SEED = 7
FIRST_DAY = date(2026, 3, 1)
SEARCHES = ("brown striped t-shirt", "cup for tea")
"""The titles of the shop's two brown striped t-shirts do not say "striped": only their pictures tell."""
STAGE_DONE = re.compile(r"jobs\.stages\.runner (\d{4}-\d\d-\d\d) (\w+) done in ([\d.]+) s: (\{.*?\})")
JOB_LINE = re.compile(r"\[info\s+\] (?:\S+ \S+ (?:INFO|WARNING|ERROR) jobs\.\S+ |(?=moon: ))(.*?)\s+\[airflow\.task\.")
WAITS_FOR_RETRY = "[up_for_retry]"  # Airflow waits minutes before a retry, good on a server, not in a demo


@dataclass
class NightTimes:
    """What one night took: seconds by the clock, seconds inside each stage, and the rows its report counted."""

    wall: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def work(self) -> float:
        """Seconds inside stages; the rest is Airflow, three JVMs and Spark sessions, and imports."""
        return sum(self.stages.values())


class Demo:
    """The demo shop's folders and the commands that run on them."""

    def __init__(self, root: Path, products: int) -> None:
        self.root, self.products = root, products
        self.catalog = root / "catalog"
        self.log = root / "nights.log"
        lake, milvus = root / "lake", root / "milvus.db"
        self.stores = ["--lake", str(lake), "--milvus", str(milvus)]
        self.environment = airflow_environment(root / "airflow") | {
            "MOON_LAKE": str(lake),
            "MOON_MILVUS": str(milvus),
            "MOON_TIMEZONE": "UTC",
            "MOON_SNAPSHOT_OFFSET_DAYS": "0",
            "MOON_DEADLINE_HOURS": "0",  # `airflow dags test` fails on deadlines, see dags/deadline.py
        }

    def moon(self, *arguments: str) -> str:
        """Run the `moon` command and return what it prints; its own log goes to the log file."""
        return self._run([str(REPOSITORY / ".venv/bin/moon"), *arguments])

    def airflow(self, *arguments: str) -> str:
        """Run an Airflow command in the demo's own home and return what it prints."""
        return self._run([str(REPOSITORY / ".venv-airflow/bin/airflow"), *arguments])

    def _run(self, command: Sequence[str]) -> str:
        with self.log.open("a") as log:
            answer = subprocess.run(
                command, check=False, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
            log.write(answer.stdout)
        if answer.returncode:
            raise SystemExit(f"nightly: {' '.join(command)} ended with {answer.returncode}; see {self.log}")
        return answer.stdout

    def stream(self, *arguments: str) -> Iterator[str]:
        """Run an Airflow command, yield its output line by line, keep it in the log file."""
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
            raise SystemExit(f"nightly: the DAG run failed; why is above, the whole log is {self.log}")


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def start_clean(root: Path) -> None:
    """Make an empty folder for the demo; only one that an earlier demo made is removed for it."""
    marker = root / ".moon-demo"
    if root.exists() and any(root.iterdir()) and not marker.exists():
        raise SystemExit(f"nightly: {root} was not made by this command; move it away or pass another --root")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    marker.touch()


def prepare(demo: Demo, days: int) -> None:
    """Start from nothing: draw the shop, give Airflow a database and our pool."""
    start_clean(demo.root)
    say(f"Drawing a shop of {demo.products} products over {days} days into {short(demo.catalog)}")
    options = {"--products": demo.products, "--days": days, "--seed": SEED, "--start": FIRST_DAY}
    demo.moon("demo-catalog", f"--out={demo.catalog}", *(f"{name}={value}" for name, value in options.items()))
    say(f"Giving Airflow a database of its own in {short(demo.root / 'airflow')}")
    demo.airflow("db", "migrate")
    demo.airflow("pools", "import", str(REPOSITORY / "dags" / "pools.json"))


def run_night(demo: Demo, day: date) -> NightTimes:
    """Run one night through the DAG, show what the jobs say, and return what it took."""
    parameters = {"catalog": f"{demo.catalog}/{{date}}/catalog.jsonl", "mapping": f"{demo.catalog}/mapping.toml"}
    say(f"\nNight {day}: airflow dags test moon_nightly {day}")
    started, night = time.monotonic(), NightTimes()
    for line in demo.stream("dags", "test", "moon_nightly", day.isoformat(), "--conf", json.dumps(parameters)):
        done, words = STAGE_DONE.search(line), JOB_LINE.search(line)
        text = words.group(1).removeprefix(f"{day} ") if words else ""
        if done:
            rows = ast.literal_eval(done.group(4))
            night.stages[done.group(2)], night.rows = float(done.group(3)), rows or night.rows
            text = f"{done.group(2)} done in {done.group(3)} s: {counted(rows)}"
        if text:
            say(f"{time.monotonic() - started:6.0f} s  {text}")
    night.wall = time.monotonic() - started
    return night


def counted(rows: dict[str, int]) -> str:
    """Return counts as words: ``500 delivered, 3 quarantined``."""
    return ", ".join(f"{count} {name}" for name, count in rows.items()) or "nothing to count"


def summarise(nights: dict[date, NightTimes]) -> None:
    """Print rows and seconds of the nights, work and overhead apart."""
    for day, night in nights.items():
        say(f"\nNight {day}")
        say(f"  rows      {counted(night.rows)}")
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in night.stages.items())
        say(f"  work      {night.work:5.0f} s in stages: {stages}")
        say(f"  overhead  {night.wall - night.work:5.0f} s outside them: Airflow, three JVMs with Spark, imports")
    wall = sum(night.wall for night in nights.values())
    work = sum(night.work for night in nights.values())
    say(f"\n{len(nights)} nights in {wall:.0f} s: {work:.0f} s of work, {wall - work:.0f} s of overhead")


def search(demo: Demo) -> None:
    """Ask the collection what a shopper would ask: two texts, and a photo of the last hit that was best."""
    best = [ask(demo, text)[0]["product_id"] for text in SEARCHES]
    ask(demo, "--image", str(max((demo.catalog / "images").glob(f"{best[-1]}-*.jpg"))))


def ask(demo: Demo, *query: str) -> list[dict[str, Any]]:
    """Print a search as it is typed and its three hits; return them."""
    say(f"\nmoon search {' '.join(quoted(part) for part in query)} --k 3")
    hits: list[dict[str, Any]] = json.loads(demo.moon("search", *query, "--k", "3", *demo.stores, "--json"))
    for hit in hits:
        say(f"  {hit['score']:.3f}  {hit['product_id']:<14} {hit['title']}")
    return hits


def quoted(argument: str) -> str:
    """Return an argument as it is typed from the repository's root."""
    return shlex.quote(short(Path(argument)) if argument.startswith("/") else argument)


def where_next(demo: Demo) -> None:
    """Print where a newcomer looks next."""
    stores = " ".join(quoted(part) for part in demo.stores)
    say("\nWhere to look next")
    for folder, words in (("_reports", "a night's report"), ("_data_docs", "what the gate checked")):
        for page in sorted((demo.root / "lake" / folder).rglob("*.html")):
            say(f"  {short(page)}: {words}")
    say(f"  {short(demo.catalog / 'contact_sheet.png')}: the shop at a glance")
    say(f"  {short(demo.log)}: everything Airflow and Spark said")
    say(f'  .venv/bin/moon search "your words" {stores}')
    say(f"  .venv/bin/moon status {stores}")
    say('  README.md, "Your own catalogue"')


def short(path: Path) -> str:
    """Return a path as it is typed from the repository's root."""
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


def main() -> None:
    """Run the demo from a clean start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=500)
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--root", type=Path, default=REPOSITORY / "var" / "demo", help="made anew each time")
    options = parser.parse_args()
    demo = Demo(options.root.resolve(), options.products)
    prepare(demo, options.days)
    days = [FIRST_DAY + timedelta(days=number) for number in range(options.days)]
    nights = {day: run_night(demo, day) for day in days}
    summarise(nights)
    search(demo)
    where_next(demo)


if __name__ == "__main__":
    main()
