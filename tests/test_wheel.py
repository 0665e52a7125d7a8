"""The wheel: its content, and that a service and the `moon` command work from it in any folder."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.long


def run(*command: str, cwd: Path) -> str:
    # A Spark session of an earlier test names this checkout's Python for its workers (PYSPARK_PYTHON).
    leave = ("PYTHONPATH", "PYSPARK_", "SPARK_", "MOON_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(leave)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    run("git", "clone", "--quiet", "--depth", "1", f"file://{REPOSITORY}", str(source), cwd=folder)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", str(folder), str(source), cwd=folder)
    return next(folder.glob("moon_nightly-*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; third-party packages are visible from this one."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder), cwd=folder)
    packages = next(folder.glob("lib/python3*/site-packages"))
    # First, while no other moon-nightly is visible that pip could take for this one.
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-deps")
    run(*pip, "--no-index", str(wheel), cwd=folder)
    # Path entries alone: .pth files of that folder, such as the editable install of this checkout, are not read.
    (packages / "third_party.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


def test_it_holds_packages_templates_and_checkpoints_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if "dist-info" not in name}
    assert tops == {"demo_shop", "jobs", "moon_model", "schemas", "validation"}
    assert {
        "jobs/pages/templates/report.html.j2",
        "demo_shop/vocabulary.toml",
        "moon_model/checkpoints/moon-tiny/config.json",
        "moon_model/checkpoints/detector/detector.onnx",
    } <= set(names)
    assert {name.rsplit("/", 1)[-1] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_a_service_encodes_a_product(python: Path, tmp_path: Path) -> None:
    code = (
        "import json, moon_model, sys\n"
        "assert 'pyspark' not in sys.modules\n"
        "from moon_model import MoonEncoder\n"
        "encoder = MoonEncoder.from_pretrained(dtype='float32', device='cpu')\n"
        "vectors = encoder.encode([{'id': 'p', 'title': 'red boot'}])\n"
        "print(json.dumps([moon_model.__file__, encoder.model_version, vectors.shape, 'pyspark' in sys.modules]))"
    )
    file, version, shape, has_spark = json.loads(run(str(python), "-c", code, cwd=tmp_path))
    assert file.startswith(str(python.parents[1]))
    assert version.startswith("c1499726cf06") and shape == [1, 576] and not has_spark


def test_the_command_works_from_any_folder(python: Path, tmp_path: Path) -> None:
    moon = str(python.with_name("moon"))
    assert "nightly" in run(moon, "--help", cwd=tmp_path)
    shop = tmp_path / "shop"
    options = ("--products", "5", "--days", "1", "--no-broken", "--json")
    run(moon, "demo-catalog", "--out", str(shop), *options, cwd=tmp_path)
    catalogue = next(shop.glob("*/catalog.jsonl"))
    date = catalogue.parent.name
    night = ("nightly", "--catalog", str(catalogue), "--date", date, "--json")
    document = json.loads(run(moon, *night, cwd=tmp_path))
    assert document["rows"]["encoded"] == 5
    assert (tmp_path / "var" / "lake" / "served").is_dir(), "an installed command works in the folder it starts in"
