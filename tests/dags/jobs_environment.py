"""Makes a jobs' environment for the scheduler test: the real one, with a spark-submit that records every call.

A call for one of the skipped dates succeeds without a run. The first call without a date hangs, to be killed.
"""

import json
import shutil
import stat
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = REPOSITORY / ".venv"

SUBMIT = """#!{python}
import json, os, sys, time
after = sys.argv[sys.argv.index({application!r}) + 1 :]
command, dates = after[0], [text[7:] for text in after if text.startswith("--date=")]
first = not os.path.exists({calls!r})
call = {{"command": command, "arguments": after[1:], "date": (dates or [None])[0], "caller": os.getppid()}}
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(call) + "\\n")
if command == "prepare" and not dates:
    time.sleep(600 if first else 0)
elif not set(dates) & set({skipped_dates!r}):
    os.execv(os.path.join(os.environ["SPARK_HOME"], "bin", "spark-submit"), sys.argv)
"""


@dataclass(frozen=True)
class JobsEnvironment:
    """A jobs' environment and the calls of its spark-submit.

    Attributes:
        folder: value of ``MOON_JOBS_ENV``.
    """

    folder: Path

    @classmethod
    def make(cls, folder: Path, skipped_dates: Collection[str]) -> "JobsEnvironment":
        """Return a new environment in a folder; calls for the skipped dates are recorded and succeed."""
        (folder / "bin").mkdir(parents=True)
        shutil.copy(REAL / "pyvenv.cfg", folder)
        (folder / "lib").symlink_to(REAL / "lib")
        (folder / "bin" / "python").symlink_to((REAL / "bin" / "python").resolve())
        made = cls(folder)
        submit = folder / "bin" / "spark-submit"
        application = str(REPOSITORY / "jobs" / "spark_entrypoint.py")
        submit.write_text(
            SUBMIT.format(
                python=sys.executable,
                application=application,
                calls=str(made.record),
                skipped_dates=sorted(skipped_dates),
            )
        )
        submit.chmod(submit.stat().st_mode | stat.S_IXUSR)
        return made

    @property
    def record(self) -> Path:
        """The file with one JSON line per call."""
        return self.folder / "calls"

    def read_calls(self) -> list[dict[str, Any]]:
        """Return the calls up to now, in order."""
        lines = self.record.read_text().splitlines(keepends=True) if self.record.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]
