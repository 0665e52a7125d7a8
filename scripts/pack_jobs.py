"""Packs the archives that spark-submit sends to a cluster: ``make pack``, or ``python scripts/pack_jobs.py``.

  moon-jobs.zip            our packages with their templates, and the checkpoints: what every task needs
  moon-environment.tar.gz  (--environment) the virtual environment that tasks run in

Both are sent as ``--archives``, which Spark unpacks in each executor's folder. (Spark does not unpack ``--py-files``,
and models must be files.) The environment works in any folder but has no interpreter: the machines must have the same
Python version at the path of --python. See docs/cluster.md.
"""

import argparse
import io
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = ("checkpoints", "demo_shop", "jobs", "moon_model", "schemas", "validation")
CODE, ENVIRONMENT = "moon-jobs.zip", "moon-environment.tar.gz"
LEFT_OUT = re.compile(r"(^|/)(__pycache__|pyspark/jars|__editable__[^/]*|moon_nightly-[^/]*)(/|$)")
"""Caches, Spark's jars (an executor uses those of its machine) and the environment's link to this repository."""
EPOCH = (1980, 1, 1, 0, 0, 0)


def pack_code(target: Path) -> Path:
    """Write the archive of our code and checkpoints without compression; the same files give the same bytes."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in _files(REPOSITORY, FOLDERS):
            entry = zipfile.ZipInfo(path.relative_to(REPOSITORY).as_posix(), EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return target


def pack_environment(target: Path, environment: Path, python: Path) -> Path:
    """Write the archive of a virtual environment whose interpreter is at ``python`` on the cluster's machines.

    Raises:
        FileNotFoundError: there is no virtual environment in that folder.
    """
    configuration = environment / "pyvenv.cfg"
    if not configuration.is_file():
        raise FileNotFoundError(f"no virtual environment in {environment}: run `make setup`, or name one")
    version = re.search(r"(?m)^version\s*=\s*(\S+)", configuration.read_text())
    text = f"home = {python.parent}\ninclude-system-site-packages = false\nversion = {version[1] if version else ''}\n"
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        _add_text(archive, "pyvenv.cfg", text)
        link = tarfile.TarInfo("bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, str(python)
        archive.addfile(link)
        for path in _files(environment, ("lib",)):
            archive.add(path, path.relative_to(environment).as_posix(), recursive=False)
    return target


def _files(root: Path, folders: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files under the folders, sorted, without those of `LEFT_OUT`."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not LEFT_OUT.search(path.relative_to(root).as_posix()):
                yield path


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def submit_options(code: Path, environment: Path | None, driver: Path) -> list[str]:
    """Return the options of spark-submit, in client mode, that send the archives.

    Args:
        code: archive of the code.
        environment: archive of the environment; None: executors use an interpreter of their machines.
        driver: the driver's interpreter, on the submitting machine.
    """
    archives = [f"{code}#moon", *([f"{environment}#environment"] if environment else [])]
    options = ["--archives", ",".join(archives), "--conf", "spark.executorEnv.PYTHONPATH=moon"]
    if environment:  # else the driver would use the executors' interpreter, which this machine does not have
        options += ["--conf", "spark.pyspark.python=./environment/bin/python"]
        options += ["--conf", f"spark.pyspark.driver.python={driver}"]
    return options


def main() -> None:
    """Write the archives, and print the options of spark-submit that send them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "var" / "pack", help="folder of the archives")
    venv = REPOSITORY / ".venv"
    parser.add_argument("--environment", type=Path, nargs="?", const=venv, help="pack it as well; default: .venv")
    python = Path(sys.executable).resolve()
    parser.add_argument("--python", type=Path, default=python, help="the interpreter on the cluster's machines")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    code = pack_code(options.out / CODE)
    environment = None
    if options.environment:
        environment = pack_environment(options.out / ENVIRONMENT, options.environment, options.python)
    for path in filter(None, (code, environment)):
        print(f"{path}: {path.stat().st_size / 1e6:.0f} MB", file=sys.stderr)
    print(" ".join(submit_options(code, environment, venv / "bin" / "python")))


if __name__ == "__main__":
    main()
