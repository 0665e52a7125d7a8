"""Everything the detector's ONNX file does not say about itself: ``config.json`` beside it."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

CONFIG_NAME = "config.json"


@dataclass(frozen=True)
class DetectorConfig:
    """How photos reach the network and when its answer is believed.

    Attributes:
        weights: name of the ONNX file in the same folder.
        input_size: photos are squeezed to this many pixels on both sides (shares of the sides are kept).
        score_threshold: below this expected IoU the whole photo is used.
        least_side: a box with a side under this share of the photo is degenerate.
        most_area: a box over this share of the photo would only repeat it.
        merge_iou: neighbouring cells whose boxes overlap the best one by this much refine it; weaker ones
            that overlap it less are candidates of their own.
        mirrored: look at each photo and at its mirror image, and let the cells of both vote: twice the network's time
            for fewer misses, since it errs differently on either.
        margin: share of its own sides by which a box is widened before the crop.

    Raises:
        ValueError: when a value lies outside its range.
    """

    weights: str = "detector.onnx"
    input_size: int = 192
    score_threshold: float = 0.35
    least_side: float = 0.02
    most_area: float = 0.92
    merge_iou: float = 0.6
    mirrored: bool = False
    margin: float = 0.04

    def __post_init__(self) -> None:
        if Path(self.weights).name != self.weights:
            raise ValueError(f"weights is the name of a file in the detector's folder, not {self.weights!r}")
        if self.input_size < 32 or self.input_size % 32:
            raise ValueError(f"input_size must be a positive multiple of 32, not {self.input_size}")
        for name in ("score_threshold", "least_side", "most_area", "merge_iou", "margin"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} lies in [0, 1], not {value}")

    @classmethod
    def read(cls, folder: Path) -> "DetectorConfig":
        """Read ``config.json``.

        Raises:
            FileNotFoundError: when the folder holds no detector.
            ValueError: when the file has unknown keys or values out of range.
        """
        path = folder / CONFIG_NAME
        if not path.is_file():
            raise FileNotFoundError(
                f"no detector in {folder} ({CONFIG_NAME} is missing); train one with "
                f"`python -m recipes.detector.train --out {folder}`"
            )
        values = json.loads(path.read_text())
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"{path} has unknown settings: {', '.join(sorted(unknown))}")
        return cls(**values)

    def write(self, folder: Path) -> None:
        """Write ``config.json``."""
        (folder / CONFIG_NAME).write_text(json.dumps(asdict(self), indent=2) + "\n")
