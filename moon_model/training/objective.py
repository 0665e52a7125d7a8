"""What a training step is made of: objectives, each with products to embed and a loss of their embeddings."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from moon_model.processing_moon import PreparedProduct

Loss = Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]]
"""Embeddings float32 [N, D], L2-normalised, in the order of the products → (scalar, scalars to log, detached)."""


@dataclass(frozen=True)
class StepInput:
    """One objective's part of a step.

    Attributes:
        prepared: N products to embed.
        loss: called exactly once a step, with a graph.
    """

    prepared: Sequence[PreparedProduct]
    loss: Loss


class Objective(nn.Module, ABC):
    """A loss and where its products come from. Parameters and buffers are trained, saved and resumed with the model.

    Attributes:
        name: in front of its scalars in the log.
        weight: of its loss in the sum.
    """

    name: str
    weight: float = 1.0

    @abstractmethod
    def work(self, step: int) -> StepInput:
        """Prepare a step: a function of the step and the seed, so that a resumed run does the same.

        Called ahead, in another thread than the loss.
        """

    def after_step(self, step: int) -> None:  # most objectives remember nothing
        """Take note of a finished step."""
