"""The product detector that ships with MOON: one ONNX model, run by ONNX Runtime on the CPU or a GPU."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from moon_model import checkpoint_dir
from moon_model.detection.candidates import Candidate, select_candidates
from moon_model.detection.configuration import CONFIG_NAME, DetectorConfig
from moon_model.detection.region import Box, Region, is_degenerate
from moon_model.images import decode_image

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
_BATCH = {CUDA_PROVIDER: 32}


class ProviderUnavailableError(RuntimeError):
    """The execution provider that was asked for is not the one ONNX Runtime would run on."""


class ProductDetector:
    """Finds the core product of each photo.

    Args:
        session: an ONNX Runtime session of a network that maps ``photos`` (uint8 [B, S, S, 3]) to ``scores``
            [B, cells] in [0, 1] and ``boxes`` [B, cells, 4] in shares of the photo.
        config: how to prepare photos and when to believe the answer.
        version: 16 hex digits that change with the weights or the configuration.
        batch_size: photos a run. Every run has exactly this many (the last is padded), since ONNX Runtime
            plans anew for each shape on a GPU. None: 32 on CUDA, 1 on the CPU, where batches gain nothing.

    Attributes:
        provider: the execution provider in use, such as ``CPUExecutionProvider``.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        config: DetectorConfig,
        version: str,
        batch_size: int | None = None,
    ) -> None:
        self.config = config
        self.version = version
        self.provider: str = session.get_providers()[0]
        self.batch_size = batch_size or _BATCH.get(self.provider, 1)
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
            path: folder with ``config.json`` and the ONNX file; None is the one in the repository.
            providers: ONNX Runtime providers in order of preference; None is the CPU. The first must really
                run: ONNX Runtime by itself falls back to the CPU without a word.
            threads: intra-op threads; one, because a Spark worker owns one core.
            batch_size: see the class.

        Raises:
            FileNotFoundError: when the folder or a file in it is missing.
            ProviderUnavailableError: when the first provider cannot be used here.
        """
        folder = Path(path) if path is not None else checkpoint_dir("detector")
        config = DetectorConfig.read(folder)
        session = _open_session(_weights(folder, config), list(providers or [CPU_PROVIDER]), threads)
        return cls(session, config, compute_detector_version(folder), batch_size)

    def detect(self, images: Iterable[Image.Image]) -> list[Region]:
        """Find the core product of each photo.

        Args:
            images: photos of any size; EXIF orientation is applied and alpha put on white, as in ``decode_image``.

        Returns:
            One region a photo, in order; the whole image where no box is trusted.

        Raises:
            BadImage: when an image cannot be decoded.
        """
        return [self._trusted(candidates) for candidates in self._propose(images, 1)]

    def detect_candidates(self, images: Iterable[Image.Image], k: int = 5) -> list[list[Region]]:
        """Up to ``k`` separate regions a photo, best first, however low they score.

        For a caller who knows more than the pixels do: with the product's title at hand, the candidate whose
        crop is most like it. Degenerate boxes are left out, so a list may be empty.

        Raises:
            BadImage: when an image cannot be decoded.
        """
        return [
            [Region(box, score) for score, box in candidates if not self._is_degenerate(box)]
            for candidates in self._propose(images, k)
        ]

    def run(self, photos: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The network alone.

        Args:
            photos: [batch_size, input_size, input_size, 3], RGB.

        Returns:
            scores [batch_size, cells] and boxes [batch_size, cells, 4], not clipped.
        """
        scores, boxes = self._session.run(["scores", "boxes"], {"photos": photos})
        return scores, boxes

    def _propose(self, images: Iterable[Image.Image], k: int) -> Iterator[list[Candidate]]:
        photos = (_squeeze(image, self.config.input_size) for image in images)
        while batch := list(islice(photos, self.batch_size)):
            padding = [np.zeros_like(batch[0])] * (self.batch_size - len(batch))
            scores, boxes = self._look(np.stack(batch + padding))
            for index in range(len(batch)):
                yield select_candidates(scores[index], boxes[index], k, self.config.merge_iou)

    def _look(self, photos: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the network on photos and, where the configuration says so, on their mirror images: twice the cells."""
        scores, boxes = self.run(photos)
        if not self.config.mirrored:
            return scores, boxes
        turned, found = self.run(np.ascontiguousarray(photos[:, :, ::-1]))
        x0, y0, x1, y1 = np.moveaxis(found, -1, 0)
        back = np.stack([1 - x1, y0, 1 - x0, y1], axis=-1)
        return np.concatenate([scores, turned], axis=1), np.concatenate([boxes, back], axis=1)

    def _trusted(self, candidates: list[Candidate]) -> Region:
        score, box = candidates[0]
        if score < self.config.score_threshold or self._is_degenerate(box):
            return Region.whole(score)
        return Region(box, score)

    def _is_degenerate(self, box: Box) -> bool:
        return is_degenerate(box, self.config.least_side, self.config.most_area)


def compute_detector_version(path: str | Path | None = None) -> str:
    """Digest of a detector's weights and configuration, 16 hex digits; reads files, loads nothing.

    Raises:
        FileNotFoundError: when the folder or a file in it is missing.
    """
    folder = Path(path) if path is not None else checkpoint_dir("detector")
    weights = _weights(folder, DetectorConfig.read(folder))
    digest = hashlib.sha256((folder / CONFIG_NAME).read_bytes())
    digest.update(weights.read_bytes())
    return digest.hexdigest()[:16]


def _weights(folder: Path, config: DetectorConfig) -> Path:
    path = folder / config.weights
    if not path.is_file():
        raise FileNotFoundError(f"{folder / CONFIG_NAME} names {config.weights}, which is not there")
    return path


def _open_session(weights: Path, providers: list[str], threads: int) -> onnxruntime.InferenceSession:
    """Open a session on the first provider, or say why that cannot be."""
    wanted, available = providers[0], onnxruntime.get_available_providers()
    if wanted not in available:
        raise ProviderUnavailableError(
            f"{wanted} was asked for, but this ONNX Runtime has {', '.join(available)}. For CUDA install "
            "onnxruntime-gpu in place of onnxruntime, or ask for CPUExecutionProvider."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The weights are stored as int8 and computed with as floats: unpack them once, not at every run.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(weights, options, [name for name in providers if name in available])
    if session.get_providers()[0] != wanted:
        raise ProviderUnavailableError(
            f"{wanted} was asked for, but ONNX Runtime fell back to {session.get_providers()[0]}: driver, CUDA or "
            "cuDNN libraries are missing or of the wrong version (its log above says which)."
        )
    return session


def _squeeze(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Upright RGB pixels [size, size, 3]; the aspect ratio is given up, so shares of the sides stay true."""
    return np.asarray(decode_image(image).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))
