"""Finds the Python for the environments: 3.11, else 3.12."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator, NamedTuple  # noqa: UP035 - must start on any python3, to say what is wrong

SUPPORTED = ((3, 11), (3, 12))  # in order of preference: the locks are compiled for the first
_PROBE = (
    "import sys\n"
    "try:\n"
    "    import ctypes, sqlite3, ssl, venv, ensurepip\n"
    "    lacks = '-'\n"
    "except ImportError as error:\n"
    "    lacks = error.name or str(error)\n"
    "print('%d.%d.%d' % sys.version_info[:3], lacks)\n"
)


class SetupError(Exception):
    """The set-up cannot continue; `remedy` says what the user can do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Interpreter(NamedTuple):
    """A Python that was found: its path, its version, and a required module that it lacks, if any."""

    path: str
    version: str
    lacks: str | None

    @property
    def minor(self) -> tuple[int, ...]:
        """Version as (major, minor)."""
        return tuple(int(part) for part in self.version.split(".")[:2])


def probe(path: str) -> Interpreter | None:
    """Return the version of the Python at `path`; None if it does not run (pyenv shims of other versions)."""
    try:
        answer = subprocess.run([path, "-I", "-c", _PROBE], check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode or len(answer.stdout.split()) != 2:
        return None
    version, lacks = answer.stdout.split()
    return Interpreter(path, version, None if lacks == "-" else lacks)


def candidates(search_path: str, pyenv_root: str) -> Iterator[str]:
    """Yield paths, best first: this Python, ``python3.N`` in each folder of PATH, pyenv's versions, python3."""
    folders = [Path(folder) for folder in search_path.split(os.pathsep) if folder]
    for major, minor in SUPPORTED:
        if sys.version_info[:2] == (major, minor):
            yield sys.executable
        yield from (str(folder / f"python{major}.{minor}") for folder in folders)
        versions = sorted(Path(pyenv_root, "versions").glob(f"{major}.{minor}.*"), key=lambda path: path.name)
        yield from (str(version / "bin" / "python") for version in reversed(versions))
    yield from (str(folder / "python3") for folder in folders)


def find_python(wanted: str = "", search_path: str | None = None) -> Interpreter:
    """Return the first supported, complete Python, or the one at `wanted`.

    Raises:
        SetupError: none fits; the message lists what was found and the remedy says what to install.
    """
    folders = os.environ.get("PATH", os.defpath) if search_path is None else search_path
    pyenv_root = os.environ.get("PYENV_ROOT") or str(Path("~/.pyenv").expanduser())
    seen: list[Interpreter] = []
    for path in [wanted] if wanted else candidates(folders, pyenv_root):
        if not (wanted or os.access(path, os.X_OK)) or any(path == other.path for other in seen):
            continue
        if interpreter := probe(path):
            if interpreter.minor in SUPPORTED and interpreter.lacks is None:
                return interpreter
            seen.append(interpreter)
    raise SetupError(*_explain(seen, wanted))


def _explain(seen: list[Interpreter], wanted: str) -> tuple[str, str]:
    """Return message and remedy for the case that no Python in `seen` can be used."""
    incomplete = [python for python in seen if python.minor in SUPPORTED]
    if incomplete:
        path, version, lacks = incomplete[0]
        minor = "{}.{}".format(*incomplete[0].minor)
        remedy = f"install it (Debian: apt-get install python{minor}-venv), then run the same command again"
        return f"{path} (Python {version}) lacks the module {lacks}", remedy
    found = ", ".join(f"{python.version} at {python.path}" for python in seen) or "none that runs"
    problem = f"PYTHON={wanted} is no Python 3.11 or 3.12" if wanted else "Python 3.11 (or 3.12) is needed"
    return f"{problem}; found {found}", (
        "install one (Debian: apt-get install python3.11 python3.11-venv; macOS: brew install python@3.11; "
        "pyenv: pyenv install 3.11), or name one: make setup PYTHON=/path/to/python3.11"
    )
