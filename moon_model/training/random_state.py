"""The state of torch's random generators, saved and restored."""

from typing import Any

import torch


def get_random_state() -> dict[str, Any]:
    """Return the states of the CPU's generator ("cpu") and of all GPUs' ("cuda", empty without a GPU)."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def set_random_state(state: dict[str, Any]) -> None:
    """Set the generators to a state of `get_random_state`."""
    torch.set_rng_state(state["cpu"])
    torch.cuda.set_rng_state_all(state["cuda"])
