"""AdamW without decay of vectors, and a learning rate with linear warm-up and cosine decay."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_with_min_lr_schedule_with_warmup

from moon_model.training.config import OptimiserSection


def build_optimiser(modules: Iterable[nn.Module], settings: OptimiserSection) -> AdamW:
    """Return AdamW over all parameters that require gradients.

    Weights of norms, biases and the temperature do not decay, because decay towards 0 does not regularise them.

    Raises:
        ValueError: all parameters are frozen.
    """
    parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("every parameter is frozen: nothing to train")
    groups = [
        {"params": [one for one in parameters if one.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [one for one in parameters if one.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return AdamW(groups, lr=settings.learning_rate, betas=settings.betas)


def build_schedule(optimiser: torch.optim.Optimizer, settings: OptimiserSection, steps: int) -> LambdaLR:
    """Return a schedule of ``steps`` steps: linear warm-up, then a cosine down to ``settings.final`` of the peak."""
    warm_up = round(settings.warm_up * steps)
    schedule: LambdaLR = get_cosine_with_min_lr_schedule_with_warmup(
        optimiser, num_warmup_steps=warm_up, num_training_steps=steps, min_lr_rate=settings.final
    )
    return schedule
