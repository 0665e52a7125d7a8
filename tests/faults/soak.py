"""``python -m tests.faults.soak``: a month of nights with churn, faults and a rollout, compared with a fresh build.

Each night a few products change, and about every second night meets a fault and is run again. The lake is maintained
every fifth night, with a week of retention. In the middle readers get another model. At the end the collection must be
that of a new lake with the last date only, and the lake, its files and its log must not have grown since the first
maintenances. Results: ``benchmarks/results/soak.json``, ``.md`` and ``.svg``.
"""

import argparse
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from benchmarks.processes import watch_memory
from jobs.fault_points import RAISE, InjectedFaultError
from jobs.lake.store import open_lake
from jobs.operations.maintain import maintain_lake
from jobs.operations.rollout import begin_rollout, prepare_rollout, switch_rollout
from jobs.settings import REPOSITORY, Settings
from jobs.spark.session import open_spark_session
from jobs.stages.runner import NIGHTLY_STAGES, run_stages
from jobs.state.run_context import RunContext
from tests.faults.points import Fault, FaultFolder, watch_points
from tests.faults.state import Found, read_state
from tests.image_host import ImageHost, draw_photo, open_image_host
from tests.jobs.tiny_model import write_tiny_checkpoint

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PRODUCTS, START, RETENTION_DAYS, MAINTAIN_EVERY = 66, date(2026, 3, 1), 7, 5
CHURN = 0.03
"""Share of the products that change, appear or disappear in a night."""

FAULT_SHARE = 0.5
SAME_VECTOR = 2e-3
"""Most that a number of a vector may differ when the product was encoded in another batch."""

MAX_GROWTH = 1.25
"""Most that the largest value of the last third of the nights may be of the largest of the third before."""

JUDGED = ("files", "log_files", "lake_mib", "driver_mib", "jvm_mib", "worker_mib")
"""What must not creep; seconds are shown only, because they depend on what else the machine does."""

RESULTS = REPOSITORY / "benchmarks" / "results"


@dataclass
class Night:
    """What was measured of one night.

    Attributes:
        date: ISO date.
        fault: what was armed; empty in an undisturbed night.
        fired: number of faults that happened.
        seconds: time of all its runs.
        files, log_files: files of the lake without models, and how many of them are Delta logs.
        lake_mib: their size.
        driver_mib, jvm_mib, worker_mib: peak resident memory of the largest process.
    """

    date: str
    fault: str = ""
    fired: int = 0
    seconds: float = 0.0
    files: int = 0
    log_files: int = 0
    lake_mib: float = 0.0
    driver_mib: float = 0.0
    jvm_mib: float = 0.0
    worker_mib: float = 0.0


class Soak:
    """A shop, its lake and its collection over many nights.

    Args:
        spark: session.
        folder: of everything.
        host: serves half of the photos.
        faults: folder of the fault points.
        seed: of churn and faults.
    """

    def __init__(self, spark: "SparkSession", folder: Path, host: ImageHost, faults: FaultFolder, seed: int) -> None:
        self._spark, self._folder, self._host, self._faults = spark, folder, host, faults
        self._random = random.Random(seed)
        self._reached: list[tuple[str, int]] = []
        self._next = 0
        (folder / "photos").mkdir(parents=True)
        (folder / "mapping.toml").write_text('id = "id"\ntitle = "title"\nimages = "photos"\n')
        write_tiny_checkpoint(folder / "model")
        shutil.copytree(folder / "model", folder / "other")
        processor = folder / "other" / "processor_config.json"
        processor.write_text(processor.read_text().replace('"lowercase": true', '"lowercase": false'))
        self._products = dict(self._make_product() for _ in range(PRODUCTS))
        self.dates: list[str] = []

    def run_night(self) -> Night:
        """Deliver the next date, run it with a fault or without, and measure."""
        day = (START + timedelta(days=len(self.dates))).isoformat()
        self.dates.append(day)
        self._deliver(day)
        settings, night = self.make_settings("var", model="model" if len(self.dates) == 1 else ""), Night(day)
        began = time.monotonic()
        with watch_memory() as peaks:
            if self._reached and self._random.random() < FAULT_SHARE:
                fault = Fault(*self._random.choice(self._reached), RAISE)
                night.fault = str(fault)
                self._faults.arm(fault)
                self._attempt(settings, day)
                night.fired = self._faults.count_fired()
            self._faults.arm()
            self._run(settings, day)
        if not night.fault:
            self._reached = self._faults.list_reached()
        if len(self.dates) % MAINTAIN_EVERY == 0:
            maintain_lake(self._spark, open_lake(settings), settings, safe_age=timedelta(0))
        night.seconds = round(time.monotonic() - began, 2)
        self._measure_lake(night)
        night.driver_mib, night.jvm_mib, night.worker_mib = (
            round(peaks.mib[kind], 1) for kind in ("driver", "jvm", "worker")
        )
        return night

    def roll_out(self) -> None:
        """Give the readers the other model."""
        self._faults.arm()
        settings = self.make_settings("var")
        context = RunContext(self._spark, open_lake(settings), settings, self.dates[-1])
        prepare_rollout(begin_rollout(context, str(self._folder / "other"), "soak"))
        switch_rollout(begin_rollout(context, str(self._folder / "other"), "soak"))

    def compare_with_fresh(self) -> list[str]:
        """Build the last date in a new lake with the new model, and return what differs from the served collection."""
        fresh = self.make_settings("fresh", model="other")
        self._faults.arm()
        self._run(fresh, self.dates[-1])
        (mine, vectors), (wanted, others) = map(self._read_served, (self.make_settings("var"), fresh))
        names = sorted(mine.keys() | wanted.keys())
        differences = [f"{name}: {mine.get(name)}, fresh {wanted.get(name)}" for name in names
                       if mine.get(name) != wanted.get(name)]  # fmt: skip
        shared = sorted(vectors.keys() & others.keys())
        differences += [
            f"{name}: another vector"
            for name in shared
            if not np.allclose(vectors[name], others[name], atol=SAME_VECTOR)
        ]
        return differences + read_state(self.make_settings("var")).broken

    def make_settings(self, var: str, model: str = "") -> Settings:
        """Return settings with lake and Milvus Lite file in a folder; without a model the served one is used."""
        return Settings(
            _env_file=None,
            lake=str(self._folder / var / "lake"),
            milvus=str(self._folder / var / "milvus.db"),
            catalog=str(self._folder / "{date}" / "products.jsonl"),
            mapping=str(self._folder / "mapping.toml"),
            model=str(self._folder / model) if model else None,
            allowed_roots=(self._host.url, str(self._folder / "photos")),
            retention_days=RETENTION_DAYS,
            upsert_batch_bytes=4000,
        )

    def _make_product(self) -> tuple[str, dict[str, Any]]:
        number, self._next = self._next, self._next + 1
        path = self._folder / "photos" / f"{number}.jpg"
        path.write_bytes(draw_photo(number))
        photo = self._host.add_photo(f"/{number}.jpg", number) if number % 2 else str(path)
        return f"p{number:04d}", {"title": f"Mug number {number}", "photos": [photo]}

    def _deliver(self, day: str) -> None:
        if len(self.dates) > 1:
            changes = round(PRODUCTS * CHURN / 2)
            for name in self._random.sample(sorted(self._products), changes):
                self._products[name]["title"] = f"Mug {name} of {day}"
            for name in self._random.sample(sorted(self._products), changes):
                del self._products[name]
            self._products |= dict(self._make_product() for _ in range(changes))
        lines = [json.dumps({"id": name, **product}) for name, product in self._products.items()]
        (self._folder / day).mkdir()
        (self._folder / day / "products.jsonl").write_text("\n".join(lines))

    def _attempt(self, settings: Settings, day: str) -> None:
        try:
            self._run(settings, day)
        except Exception as error:
            if not isinstance(error, InjectedFaultError) and InjectedFaultError.__name__ not in str(error):
                raise

    def _run(self, settings: Settings, day: str) -> None:
        run_stages(RunContext(self._spark, open_lake(settings), settings, day), NIGHTLY_STAGES)

    def _measure_lake(self, night: Night) -> None:
        lake = self._folder / "var" / "lake"
        files = [path for path in lake.rglob("*") if path.is_file() and "_models" not in path.parts]
        night.files = len(files)
        night.log_files = sum("_delta_log" in path.parts for path in files)
        night.lake_mib = round(sum(path.stat().st_size for path in files) / 2**20, 3)

    def _read_served(self, settings: Settings) -> tuple[dict[str, dict[str, Any]], dict[str, list[float]]]:
        """Return what readers of the alias find by product: its fields without the date, and its vector."""
        found: Found = read_state(settings)
        collection, fields = found.aliases[settings.alias], {}
        for name, text in found.collections[collection].items():
            fields[name] = {key: value for key, value in json.loads(text).items() if key != "snapshot_date"}
        return fields, {name: found.embeddings[f"{collection} {name}"] for name in fields}


def judge_growth(nights: Sequence[Night]) -> list[str]:
    """Return what grew more than it may between the second and the last third of the nights."""
    third = len(nights) // 3
    before, last = nights[third : 2 * third], nights[2 * third :]
    grown = []
    for name in JUDGED:
        most, limit = (max(getattr(night, name) for night in part) for part in (last, before))
        if most > limit * MAX_GROWTH:
            grown.append(f"{name}: at most {limit:g} in nights {third + 1} to {2 * third}, then {most:g}")
    return grown


def write_results(nights: Sequence[Night], document: dict[str, Any], folder: Path) -> None:
    """Write the numbers, a page and a plot."""
    (folder / "soak.json").write_text(json.dumps({**document, "nights": [asdict(n) for n in nights]}, indent=1) + "\n")
    rows = [
        f"| {n.date} | {n.fault or '-'} | {n.seconds:.0f} | {n.files} | {n.log_files} | {n.lake_mib:.1f} | "
        f"{n.driver_mib:.0f} | {n.jvm_mib:.0f} | {n.worker_mib:.0f} |"
        for n in nights
    ]
    verdicts = [f"- {name}: {value}" for name, value in document.items()]
    head = "| date | fault | s | files | log files | lake MiB | driver MiB | JVM MiB | worker MiB |"
    page = [
        "# A month of nights",
        "",
        *verdicts,
        "",
        "![plot](soak.svg)",
        "",
        head,
        "|---|---" + "|---:" * 7 + "|",
        *rows,
    ]
    (folder / "soak.md").write_text("\n".join(page) + "\n")
    mpl.use("svg")
    from matplotlib import pyplot as plt

    names = ("seconds", *JUDGED)
    figure, axes = plt.subplots(len(names), 1, sharex=True, figsize=(8, 1.5 * len(names)))
    for axis, name in zip(axes, names, strict=True):
        axis.plot(range(1, len(nights) + 1), [getattr(night, name) for night in nights], marker=".")
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("night")
    figure.tight_layout()
    figure.savefig(folder / "soak.svg")


def main() -> int:
    """Run the nights and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="moon-soak-") as name, open_image_host() as host:
        folder = Path(name)
        settings = Settings(_env_file=None, lake=str(folder / "spark" / "lake"), spark_memory="1g")
        with open_spark_session(settings, "soak") as spark:
            spark.sparkContext.setLogLevel("OFF")
            spark.conf.set("spark.sql.shuffle.partitions", "2")
            faults = FaultFolder(folder / "points")
            with watch_points(spark, faults):
                soak, nights = Soak(spark, folder / "shop", host, faults, given.seed), []
                for number in range(1, given.nights + 1):
                    nights.append(soak.run_night())
                    print(f"night {number} of {given.nights}: {nights[-1]}", flush=True)
                    if number == given.nights // 2:
                        soak.roll_out()
                differences = soak.compare_with_fresh()
    grown = judge_growth(nights) if given.nights >= 3 * MAINTAIN_EVERY else []
    document = {
        "command": f"python -m tests.faults.soak --nights {given.nights} --seed {given.seed}",
        "rollout after night": given.nights // 2,
        "faults that happened": sum(night.fired for night in nights),
        "differences from a fresh build": len(differences),
        "what grew": "; ".join(grown) or "nothing",
    }
    write_results(nights, document, given.out)
    print(json.dumps(document, indent=1), *differences[:10], sep="\n")
    return 1 if differences or grown else 0


if __name__ == "__main__":
    sys.exit(main())
