"""Settings of the product detector, stored as ``config.json`` next to its ONNX file."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

CONFIG_NAME = "config.json"


@dataclass(frozen=True)
class DetectorConfig:
    """Settings for preparing photos for the network and for using its boxes.

    Attributes:
        weights: name of the ONNX file in the same folder.
        input_size: pixels of both sides after the resize, which changes the aspect ratio; boxes are shares of sides.
        score_threshold: expected IoU below which the whole photo is used.
        least_side: minimum side of a usable box, as a share of the photo's side.
        most_area: maximum area of a usable box, as a share of the photo; a larger crop would only repeat the photo.
        merge_iou: IoU from which the box of another cell is averaged with the best one; a box with less overlap is a
            candidate of its own.
        mirrored: run the network on each photo and on its mirror image and select among the boxes of both. Takes twice
            the time and misses fewer products, because the errors on the two differ.
        margin: share of its own sides by which a box is extended on every side before the crop.

    Raises:
        ValueError: a value is outside its range.
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
                raise ValueError(f"{name} must be in [0, 1], not {value}")

    @classmethod
    def read(cls, folder: Path) -> "DetectorConfig":
        """Read ``config.json``.

        Raises:
            FileNotFoundError: the folder holds no detector.
            ValueError: the file has unknown keys or values outside their range.
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
