"""The MOON model (arXiv 2508.11999): a guided mixture-of-experts MLLM that embeds products.

Imports nothing of Spark, Airflow, Milvus or the lake: it runs wherever torch and transformers do. torch is imported
when `MoonEncoder` or `ProductDetector` is first used.
"""

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moon_model.detection.detector import ProductDetector
    from moon_model.encoder import MoonEncoder

__all__ = ["MoonEncoder", "ProductDetector", "checkpoint_dir"]

CHECKPOINTS_VARIABLE = "MOON_CHECKPOINTS"
"""Environment variable with the folder of the shipped checkpoints, for code that is installed without them."""
_MODULES = {"MoonEncoder": "moon_model.encoder", "ProductDetector": "moon_model.detection.detector"}


def __getattr__(name: str) -> Any:
    """Return a public class, importing its module (seconds) on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Return the module's names, those not yet imported included."""
    return sorted({*globals(), *_MODULES})


def checkpoint_dir(name: str) -> Path:
    """Return the folder of a shipped checkpoint, such as ``moon-tiny`` or ``detector``.

    Where ``MOON_CHECKPOINTS`` is set, only that folder is searched; else the package's own data (an installed wheel),
    then ``checkpoints/`` beside the package (a checkout, or its copy made by ``scripts/pack_jobs.py``).

    Raises:
        FileNotFoundError: no such checkpoint there.
    """
    package = Path(__file__).resolve().parent
    setting = os.environ.get(CHECKPOINTS_VARIABLE)
    folders = [Path(setting).resolve()] if setting else [package / "checkpoints", package.parent / "checkpoints"]
    for folder in folders:
        if (folder / name / "config.json").is_file():
            return folder / name
    searched = " or ".join(map(str, folders))
    raise FileNotFoundError(
        f"no checkpoint {name!r} in {searched}: set {CHECKPOINTS_VARIABLE} to the folder that holds {name}/, "
        "or install moon-nightly again"
    )
