"""Compiles ``requirements/*.in`` into ``*.lock`` with pip-tools: ``make lock``.

A lock has exact pins and nothing specific to one machine: no index, no find-links, no path, and torch without its
local version, so that each machine's pip configuration chooses the CPU or the CUDA build. Pins that still fit are kept;
``--upgrade`` takes the newest versions.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
GPU_RUNTIME = "onnxruntime-gpu==1.31.*"  # its releases come some weeks after those of the CPU build
NAMES = ("jobs", "jobs-gpu", "dev", "airflow", "train", "java")  # dev is constrained by jobs.lock: after it
NO_EMIT = [f"--no-emit-{part}" for part in ("options", "index-url", "find-links", "trusted-host")]
OPTIONS = ("--allow-unsafe", "--strip-extras", *NO_EMIT, "--annotation-style=line", "--quiet")


def gpu_input(text: str) -> str:
    """Return jobs.in with the CUDA build of ONNX Runtime instead of the CPU build; both write the same folder."""
    changed, count = re.subn(r"(?m)^onnxruntime==.*", GPU_RUNTIME, text)
    if count != 1:
        raise ValueError(f"expected one onnxruntime line in jobs.in, found {count}")
    return changed


def portable(text: str) -> str:
    """Return a lock without local versions (``2.13.0+cpu`` → ``2.13.0``); raise ValueError if a pin is not exact."""
    text = re.sub(r"(?m)^([a-z0-9._-]+==[^\s+]+)\+\S+ *", r"\1  ", text)
    for line in text.splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement and not re.fullmatch(r"[a-z0-9._-]+==[^\s+*]+(\s*;.+)?", requirement):
            raise ValueError(f"not an exact, portable pin: {line!r}")
    return text


def compile_lock(name: str, upgrade: bool) -> None:
    """Write ``requirements/<name>.lock``; pip-tools runs in that folder, so that annotations have no path."""
    lock = REQUIREMENTS / f"{name}.lock"
    with tempfile.TemporaryDirectory() as folder:
        source = REQUIREMENTS / f"{name}.in"
        if name == "jobs-gpu":  # the pins of jobs.lock, but for the runtime
            source = Path(folder) / "jobs-gpu.in"
            source.write_text(gpu_input((REQUIREMENTS / "jobs.in").read_text()))
            lock.write_text(re.sub(r"(?m)^onnxruntime==.*\n", "", (REQUIREMENTS / "jobs.lock").read_text()))
        command = [sys.executable, "-m", "piptools", "compile", *OPTIONS, f"--output-file={lock.name}"]
        command += ["--upgrade"] * (upgrade and name != "jobs-gpu")
        command += [os.path.relpath(source, REQUIREMENTS)]
        environment = os.environ | {"CUSTOM_COMPILE_COMMAND": "make lock"}
        subprocess.run(command, cwd=REQUIREMENTS, env=environment, check=True)
        text = lock.read_text().replace(os.path.relpath(folder, REQUIREMENTS) + "/jobs-gpu.in", "jobs.in")
    lock.write_text(portable(text))


def main() -> None:
    """Compile the named locks, all by default."""
    parser = argparse.ArgumentParser(description="Compile requirements/*.in into exact, portable locks.")
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    options = parser.parse_args()
    for name in options.names:
        print(f"requirements/{name}.lock", flush=True)
        compile_lock(name, options.upgrade)


if __name__ == "__main__":
    main()
