"""The MOON model (arXiv 2508.11999): a guided mixture-of-experts MLLM that embeds products.

Imports nothing of Spark, Airflow, Milvus or the lake: it runs wherever torch and transformers do.
"""

from pathlib import Path


def checkpoint_dir(name: str) -> Path:
    """Return the folder of a checkpoint shipped in the repository, such as ``moon-tiny`` or ``detector``."""
    return Path(__file__).resolve().parent.parent / "checkpoints" / name
