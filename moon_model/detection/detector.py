"""The product detector shipped with MOON: one ONNX model, run by ONNX Runtime on the CPU or a GPU."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moon_model import checkpoint_dir
from moon_model.detection.candidates import Candidate, select_candidates
from moon_model.detection.configuration import CONFIG_NAME, DetectorConfig
from moon_model.detection.region import Box, Region, is_degenerate
from moon_model.images import decode_image

if TYPE_CHECKING:
    import onnxruntime

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
_CUDA_BATCH = 32


class ProviderUnavailableError(RuntimeError):
    """ONNX Runtime cannot run on the requested execution provider."""


class ProductDetector:
    """Finds the core product of each photo.

    Args:
        session: an ONNX Runtime session of a network that maps ``photos`` (uint8 [B, S, S, 3]) to ``scores``
            [B, cells] in [0, 1] and ``boxes`` [B, cells, 4] in shares of the photo.
        config: settings for preparing photos and for using boxes.
        version: 16 hex digits that change with the weights or the configuration.
        batch_size: photos per run. Every run has this number (the last is padded), because ONNX Runtime on a GPU plans
            again for each new shape. None: 32 on CUDA; 1 on the CPU, where larger batches are not faster.

    Attributes:
        provider: the execution provider in use, such as ``CPUExecutionProvider``.
    """

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        config: DetectorConfig,
        version: str,
        batch_size: int | None = None,
    ) -> None:
        self.config = config
        self.version = version
        self.provider: str = session.get_providers()[0]
        self.batch_size = batch_size or (_CUDA_BATCH if self.provider == CUDA_PROVIDER else 1)
        self._session = session

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        providers: Sequence[str] | None = None,
        *,
        threads: int = 1,
        batch_size: int | None = None,
    ) -> "ProductDetector":
        """Load a detector.

        Args:
            path: folder with ``config.json`` and the ONNX file; None is ``checkpoints/detector``.
            providers: ONNX Runtime providers in order of preference; None is the CPU. It is an error when the first
                does not work; ONNX Runtime by itself would fall back to the CPU silently.
            threads: intra-op threads; the default is one because a Spark worker has one core.
            batch_size: see the class.

        Raises:
            FileNotFoundError: the folder or a file in it is missing.
            ProviderUnavailableError: the first provider cannot be used on this machine.
        """
        folder = Path(path) if path is not None else checkpoint_dir("detector")
        config = DetectorConfig.read(folder)
        session = _open_session(_find_weights(folder, config), list(providers or [CPU_PROVIDER]), threads)
        return cls(session, config, compute_detector_version(folder), batch_size)

    def detect(self, images: Iterable[Image.Image]) -> list[Region]:
        """Find the core product of each photo.

        Args:
            images: photos of any size; EXIF orientation is applied and alpha put on white, as in ``decode_image``.

        Returns:
            One region per photo, in order; the whole image where no box passes the configured limits.

        Raises:
            BadImageError: an image cannot be decoded.
        """
        return [self._choose_region(candidates[0]) for candidates in self._propose(images, 1)]

    def detect_candidates(self, images: Iterable[Image.Image], k: int = 5) -> list[list[Region]]:
        """Up to ``k`` separate regions per photo, best first, without the score threshold.

        For a caller who can choose among them by something else than the photo, such as the similarity of each crop
        with the product's title. Degenerate boxes are left out, so a list may be empty.

        Raises:
            BadImageError: an image cannot be decoded.
        """
        return [
            [Region(box, score) for score, box in candidates if not self._is_degenerate(box)]
            for candidates in self._propose(images, k)
        ]

    def run_network(self, photos: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores and boxes of all cells, as the network gives them.

        Args:
            photos: [batch_size, input_size, input_size, 3], RGB.

        Returns:
            Scores [batch_size, cells] and boxes [batch_size, cells, 4], not cut at the photo's edges.
        """
        scores, boxes = self._session.run(["scores", "boxes"], {"photos": photos})
        return scores, boxes

    def _propose(self, images: Iterable[Image.Image], k: int) -> Iterator[list[Candidate]]:
        """Yield up to ``k`` candidates of each photo; photos are decoded a batch at a time."""
        photos = (_resize_photo(image, self.config.input_size) for image in images)
        while batch := list(islice(photos, self.batch_size)):
            # Fill the last batch with black photos, so that every run has the same shape.
            padding = [np.zeros_like(batch[0])] * (self.batch_size - len(batch))
            scores, boxes = self._score_cells(np.stack(batch + padding))
            for index in range(len(batch)):
                yield select_candidates(scores[index], boxes[index], k, self.config.merge_iou)

    def _score_cells(self, photos: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores and boxes of all cells; with ``mirrored`` followed by those of the mirror images."""
        scores, boxes = self.run_network(photos)
        if not self.config.mirrored:
            return scores, boxes
        mirrored_scores, mirrored_boxes = self.run_network(np.ascontiguousarray(photos[:, :, ::-1]))
        # Mirror the boxes back: left and right change places.
        x0, y0, x1, y1 = np.moveaxis(mirrored_boxes, -1, 0)
        restored = np.stack([1 - x1, y0, 1 - x0, y1], axis=-1)
        return np.concatenate([scores, mirrored_scores], axis=1), np.concatenate([boxes, restored], axis=1)

    def _choose_region(self, candidate: Candidate) -> Region:
        """The candidate as a region, or the whole image where its score is too low or its box degenerate."""
        score, box = candidate
        if score < self.config.score_threshold or self._is_degenerate(box):
            return Region.whole_image(score)
        return Region(box, score)

    def _is_degenerate(self, box: Box) -> bool:
        return is_degenerate(box, self.config.least_side, self.config.most_area)


def compute_detector_version(path: str | Path | None = None) -> str:
    """Digest of a detector's configuration and weights, 16 hex digits; reads the files without loading the model.

    Args:
        path: folder of the detector; None is ``checkpoints/detector``.

    Raises:
        FileNotFoundError: the folder or a file in it is missing.
    """
    folder = Path(path) if path is not None else checkpoint_dir("detector")
    weights = _find_weights(folder, DetectorConfig.read(folder))
    return hashlib.sha256((folder / CONFIG_NAME).read_bytes() + weights.read_bytes()).hexdigest()[:16]


def _find_weights(folder: Path, config: DetectorConfig) -> Path:
    path = folder / config.weights
    if not path.is_file():
        raise FileNotFoundError(f"{folder / CONFIG_NAME} names {config.weights}, which is not in the folder")
    return path


def _open_session(weights: Path, providers: list[str], threads: int) -> "onnxruntime.InferenceSession":
    """Open a session on the first provider, or raise an error that says why it cannot be used."""
    import onnxruntime  # noqa: PLC0415  (slow, and a version is computed without it)

    wanted = providers[0]
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise ProviderUnavailableError(
            f"{wanted} was requested, but this ONNX Runtime has {', '.join(available)}. For CUDA install "
            "onnxruntime-gpu instead of onnxruntime, or request CPUExecutionProvider."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The weights are stored as int8 and used as floats: convert them once, not at every run.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(weights, options, [name for name in providers if name in available])
    if session.get_providers()[0] != wanted:
        raise ProviderUnavailableError(
            f"{wanted} was requested, but ONNX Runtime fell back to {session.get_providers()[0]}: the driver, CUDA or "
            "cuDNN libraries are missing or of the wrong version (its log above says which)."
        )
    return session


def _resize_photo(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Upright RGB pixels [size, size, 3]; the aspect ratio is not kept, so boxes in shares of the sides stay right."""
    return np.asarray(decode_image(image).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))
