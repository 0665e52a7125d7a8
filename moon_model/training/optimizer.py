"""What moves the weights: AdamW without decay on vectors, and a learning rate that warms up and falls as a cosine."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_with_min_lr_schedule_with_warmup

from moon_model.training.config import OptimiserSection


def build_optimiser(modules: Iterable[nn.Module], settings: OptimiserSection) -> AdamW:
    """Build AdamW over all parameters that require gradients.

    Norms, biases and scalars (the temperature) do not decay: pulling them to 0 regularises nothing.

    Raises:
        ValueError: no parameter is trained.
    """
    trained = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("every parameter is frozen: nothing to train")
    groups = [
        {"params": [one for one in trained if one.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [one for one in trained if one.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return AdamW(groups, lr=settings.learning_rate, betas=settings.betas)


def build_schedule(optimiser: torch.optim.Optimizer, settings: OptimiserSection, steps: int) -> LambdaLR:
    """Build the schedule of a run of ``steps`` steps: linear warm-up, then a cosine down to ``settings.final``."""
    schedule: LambdaLR = get_cosine_with_min_lr_schedule_with_warmup(
        optimiser,
        num_warmup_steps=round(settings.warm_up * steps),
        num_training_steps=steps,
        min_lr_rate=settings.final,
    )
    return schedule
