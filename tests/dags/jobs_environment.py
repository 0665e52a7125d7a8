"""The jobs' environment as the scheduler test lends it: the real one, behind a spark-submit that notes every call.

A call for one of the dates to leave out ends there; one without a date hangs the first time, to be killed.
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
elif not set(dates) & set({left_out!r}):
    os.execv(os.path.join(os.environ["SPARK_HOME"], "bin", "spark-submit"), sys.argv)
"""


@dataclass(frozen=True)
class JobsEnvironment:
    """Where it lies and what was called.

    Attributes:
        folder: for ``MOON_JOBS_ENV``.
    """

    folder: Path

    @classmethod
    def make(cls, folder: Path, left_out: Collection[str]) -> "JobsEnvironment":
        """Make it; calls for the dates to leave out are noted and succeed."""
        (folder / "bin").mkdir(parents=True)
        shutil.copy(REAL / "pyvenv.cfg", folder)
        (folder / "lib").symlink_to(REAL / "lib")
        (folder / "bin" / "python").symlink_to((REAL / "bin" / "python").resolve())
        made, submit = cls(folder), folder / "bin" / "spark-submit"
        application = str(REPOSITORY / "jobs" / "spark_entrypoint.py")
        submit.write_text(
            SUBMIT.format(
                python=sys.executable, application=application, calls=str(made.record), left_out=sorted(left_out)
            )
        )
        submit.chmod(submit.stat().st_mode | stat.S_IXUSR)
        return made

    @property
    def record(self) -> Path:
        """The file of the calls."""
        return self.folder / "calls"

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls so far, in order."""
        lines = self.record.read_text().splitlines(keepends=True) if self.record.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]
