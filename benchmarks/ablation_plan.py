"""What the ablation compares, and what all its runs share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class AblationVariant:
    """One change to the full model.

    Attributes:
        model: fields of MoonConfig.
        loss: fields of LossSection.
        hard_negatives: of each pair.
        crops: whether the core region is shown beside each photo.
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
    """What all runs share.

    Attributes:
        pairs: folder of `moon make-pairs`.
        roots: folders that its images lie in.
        start: folder of the model that all runs start from (`benchmarks.ablation_start`).
        work: features of the tower and finished runs are kept here.
        batches: different batches of a process; they come again every epoch.
        batch_size: pairs a step and process.
        steps: of each run.
        products: of the measured demo world.
        world: its seed.
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
    def runs(self) -> Path:
        """Finished runs, one JSON line each; a name that differs wherever the settings do."""
        return self.work / f"runs-{self.batches}x{self.batch_size}-{self.steps}-{self.products}-{self.world}.jsonl"
