"""Loads models in Spark's Python workers once per process, on the device assigned to the task.

Worker processes are reused by later tasks (``spark.python.worker.reuse``), and so are the caches here.
"""

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.settings import REPOSITORY
from schemas.uri import local_path

if TYPE_CHECKING:  # each takes seconds to import; only workers need them
    from moon_model.detection.detector import ProductDetector
    from moon_model.encoder import MoonEncoder

log = logging.getLogger(__name__)

CUDA_LOADER_THREADS = 6
"""Threads that read, decode and tokenise for one GPU, so that it never waits."""

REMOTE_LOADER_THREADS = 4
"""Threads on a worker without GPU whose images come over the network: while one waits, others decode."""


class ModelChangedError(RuntimeError):
    """The model files on a worker differ from the model that the plan names."""


@functools.cache
def load_encoder(uri: str, detector: str | None, model_version: str, device: str) -> "MoonEncoder":
    """Return this process's encoder.

    Args:
        uri: folder of the checkpoint, from `worker_path`.
        detector: folder of the detector; None is the one in the repository.
        model_version: version that the plan expects in that folder.
        device: device from `task_device`.

    Raises:
        ModelChangedError: the folder holds another model.
    """
    from moon_model.encoder import MoonEncoder  # noqa: PLC0415

    detect = load_detector(detector, device)
    folder = REPOSITORY / uri
    encoder = MoonEncoder.from_pretrained(folder, detector=detect, device=device, threads=1)
    _check(f"{folder} with its detector", encoder.model_version, model_version)
    return encoder


@functools.cache
def load_detector(path: str | None, device: str) -> "ProductDetector":
    """Return this process's detector, on the GPU if ONNX Runtime can use it, else on the CPU."""
    import onnxruntime  # noqa: PLC0415

    from moon_model.detection.detector import CPU_PROVIDER, CUDA_PROVIDER, ProductDetector  # noqa: PLC0415

    on_gpu = device != "cpu" and CUDA_PROVIDER in onnxruntime.get_available_providers()
    return ProductDetector.from_pretrained(path, providers=[CUDA_PROVIDER, CPU_PROVIDER] if on_gpu else [CPU_PROVIDER])


def load_checked_detector(path: str | None, version: str, device: str) -> "ProductDetector":
    """Return `load_detector` after comparing its version with the plan's.

    Raises:
        ModelChangedError: the folder holds another detector.
    """
    detector = load_detector(path, device)
    _check(f"detector {path or 'of the repository'}", detector.version, version)
    return detector


def worker_path(folder: str) -> str:
    """Return a model's folder in the form that tasks use: relative to the repository if it is inside it.

    On another machine the copy of the code and its checkpoints may be in any folder (`scripts/pack_jobs.py`).
    """
    path = Path(folder)
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else folder


def task_device() -> str:
    """Return the device of this task: the GPU that Spark assigned, else the first that is visible, else ``cpu``.

    If torch cannot use the assigned GPU, the task runs on the CPU and logs that in the executor's log.
    """
    import torch  # noqa: PLC0415
    from pyspark import TaskContext  # noqa: PLC0415

    context = TaskContext.get()
    given = context.resources().get("gpu") if context else None
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if given is None:
        return "cuda" if visible else "cpu"
    address = given.addresses[0]
    if address in map(str, range(visible)):
        return f"cuda:{address}"
    log.warning(
        "Spark gave this task GPU %s, of which torch (%s) knows nothing (it sees %d CUDA devices): models run on the "
        "CPU. Check the driver and the discovery script, and that .venv was set up with MOON_GPU=1",
        address,
        torch.__version__,
        visible,
    )
    return "cpu"


def loader_threads(device: str, roots: tuple[str, ...]) -> int:
    """Return the number of threads that prepare inputs ahead of the model; 0: none.

    On a CPU the model itself uses the core, so threads only help while images are transferred.

    Args:
        device: device from `task_device`.
        roots: canonical URIs of the folders that images come from.
    """
    if device != "cpu":
        return CUDA_LOADER_THREADS
    return REMOTE_LOADER_THREADS if any(local_path(root) is None for root in roots) else 0


def _check(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise ModelChangedError(
            f"{what} is version {found[:16]} on this worker, the plan is for {expected[:16]}: ship the same files to "
            "every worker, then run the night again"
        )
