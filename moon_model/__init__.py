"""The MOON model (arXiv 2508.11999): a guided mixture-of-experts MLLM that embeds products.

It imports nothing of Spark, Airflow, Milvus or the lake and needs only torch and transformers. `MoonEncoder` and
`ProductDetector` are loaded on first use, so that ``import moon_model`` is fast.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moon_model.detection.detector import ProductDetector
    from moon_model.encoder import MoonEncoder

__all__ = ["MoonEncoder", "ProductDetector", "checkpoint_dir"]

_HOMES = {"MoonEncoder": "moon_model.encoder", "ProductDetector": "moon_model.detection.detector"}
"""Modules of the lazily loaded names."""

CHECKPOINTS_VARIABLE = "MOON_CHECKPOINTS"
"""Environment variable with the folder of checkpoints, if it is not the shipped one."""


def checkpoint_dir(name: str) -> Path:
    """Return the folder of a shipped checkpoint, such as ``moon-tiny`` or ``detector``.

    The folder is searched in MOON_CHECKPOINTS if that is set, else next to this package in a checkout, else inside the
    installed package.
    """
    if named := os.environ.get(CHECKPOINTS_VARIABLE):
        return Path(named) / name
    package = Path(__file__).resolve().parent
    in_checkout = package.parent / "checkpoints" / name
    return in_checkout if in_checkout.is_dir() else package / "checkpoints" / name


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'moon_model' has no attribute {name!r}")
