"""The interface of objectives: products to embed at a step, and a loss over their embeddings."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from moon_model.processing_moon import PreparedProduct

Loss = Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]]
"""Takes embeddings float32 [N, D], L2-normalised, in the order of the products. Returns the loss (scalar) and detached
scalars for the log."""


@dataclass(frozen=True)
class StepInput:
    """One objective's input of one step.

    Attributes:
        prepared: N products to embed.
        loss: called exactly once per step, with gradients enabled.
    """

    prepared: Sequence[PreparedProduct]
    loss: Loss


class Objective(nn.Module, ABC):
    """A loss and the source of its products. Its parameters and buffers are trained, saved and resumed with the model.

    Attributes:
        name: key in checkpoints and prefix of its scalars in the log.
        weight: weight of its loss in the sum of all objectives.
    """

    name: str
    weight: float = 1.0

    @abstractmethod
    def prepare_step(self, step: int) -> StepInput:
        """Return the input of a step, which depends on step and seed only: a resumed run repeats it.

        Called one step ahead, in another thread than the loss.
        """

    def after_step(self, step: int) -> None:  # most objectives have no state
        """Update the objective's state after a step's optimiser update."""
