"""Results of cases as JSON lines: appended one by one, so that a run that is stopped continues where it was."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.case import Result

CODE = ("jobs", "moon_model", "schemas", "validation", "tests/faults")
"""Folders whose content decides on what a case finds."""


class Journal:
    """The results file of one set of cases.

    Args:
        folder: folder of all sets.
        name: of the set; the file is ``<name>.jsonl``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._name = folder / f"{name}.jsonl", name
        self._commit, self._code = _ask_git("--short", "HEAD"), _ask_git(*(f"HEAD:{name}" for name in CODE))
        self.rows: list[dict[str, Any]] = []
        if self._path.exists():
            self.rows = [json.loads(line) for line in self._path.read_text().splitlines()]

    def has(self, name: str) -> bool:
        """Return whether a case passed before with the same committed code; all others are tried again."""
        return any(
            row["name"] == name and row.get("code") == self._code and not row["differences"] for row in self.rows
        )

    def add(self, result: Result, left: int) -> None:
        """Append a result and show it, with the number of cases that are left."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        row = {**asdict(result), "commit": self._commit, "code": self._code, "at": at}
        self.rows.append(row)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        verdict = "DIFFERS" if result.differences else "same" if result.fired else "same, not reached"
        print(f"{self._name}: {left} left: {result.name}: {verdict}, {result.seconds:.0f} s", flush=True)
        for line in result.differences:
            print(f"    {line}", flush=True)

    def summarise(self, names: Iterable[str]) -> bool:
        """Print what became of these cases; return whether all were tried and are as they must be."""
        wanted = set(names)
        last = {row["name"]: row for row in self.rows if row["name"] in wanted}
        bad = [row for row in last.values() if row["differences"]]
        fired = sum(row["fired"] > 0 for row in last.values())
        seconds = sum(row["seconds"] for row in last.values())
        print(
            f"{self._name}: {len(last)} of {len(wanted)} cases tried, {fired} reached their fault, {len(bad)} differ; "
            f"{seconds / max(1, len(last)):.1f} s a case"
        )
        for ended, count in Counter(row["ended"] for row in last.values()).most_common(8):
            print(f"    {count:5} ended: {ended}")
        for row in bad:
            print(f"    DIFFERS {row['name']}: {row['differences'][0][:300]}")
        return not bad and len(last) == len(wanted)


def _ask_git(*arguments: str) -> str:
    """Return short ids of what git knows by these names; nothing where there is no repository."""
    answer = subprocess.run(["git", "rev-parse", *arguments], capture_output=True, text=True, check=False)
    return "-".join(line[:8] for line in answer.stdout.split())
