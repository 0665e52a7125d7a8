"""The variants of the ablation, and the settings that all runs share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class AblationVariant:
    """Settings of a variant that differ from the full model; the defaults are the full model.

    Attributes:
        model: fields of MoonConfig.
        loss: fields of LossSection.
        hard_negatives: number of hard negatives of a pair.
        crops: whether the model gets the crop of the core region with each photo.
    """

    model: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    hard_negatives: int = 1
    crops: bool = True


ABLATION_VARIANTS = {
    "full": AblationVariant(),
    "without crops": AblationVariant(crops=False),
    "dense FFNs of the same compute": AblationVariant({"moe_layers": []}),
    "without hard negatives": AblationVariant(hard_negatives=0),
    "without spatial negatives": AblationVariant(loss={"spatial": False}),
    "without temporal negatives": AblationVariant(loss={"queue_size": 0}),
    "pooling: tokens (the paper's)": AblationVariant({"pooling": "tokens"}),
    "pooling: segments": AblationVariant({"pooling": "segments"}),
}


@dataclass(frozen=True)
class AblationPlan:
    """The settings that all runs share.

    Attributes:
        pairs: folder that `moon make-pairs` wrote.
        roots: folders that contain the images of the pairs.
        start: folder of the start model (`benchmarks.ablation_start`).
        work: folder of the vision tower's features and of finished runs.
        batches: number of different batches of a process, the same in every epoch.
        batch_size: pairs per step and process.
        steps: number of steps of a run.
        products: number of products of the demo shop for evaluation.
        world: seed of that demo shop.
    """

    pairs: Path
    roots: tuple[Path, ...]
    start: Path
    work: Path
    batches: int
    batch_size: int
    steps: int
    products: int
    world: int = 900

    @property
    def runs_file(self) -> Path:
        """File of the finished runs, one JSON line each; its name depends on the settings."""
        return self.work / f"runs-{self.batches}x{self.batch_size}-{self.steps}-{self.products}-{self.world}.jsonl"
