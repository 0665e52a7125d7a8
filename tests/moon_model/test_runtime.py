"""Tests of the choice of device and dtype."""

import pytest
import torch
from transformers.utils import logging as transformers_logging

from moon_model.runtime import has_fast_bfloat16, hide_progress_bars, resolve_device, resolve_dtype

CPU = torch.device("cpu")


def test_an_absent_gpu_is_an_error_and_not_a_silent_cpu() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="sees no GPU"):
            resolve_device("cuda")


@pytest.mark.parametrize(
    ("features", "fast"),
    [({}, False), ({"avx512_f": True}, False), ({"amx_bf16": True}, True), ({"avx512_bf16": True}, True)],
)
def test_bfloat16_follows_what_the_cpu_can(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert has_fast_bfloat16(CPU) is fast
    assert resolve_dtype("auto", CPU) == (torch.bfloat16 if fast else torch.float32)


def test_a_format_may_be_named_or_given() -> None:
    assert resolve_dtype("float16", CPU) == resolve_dtype(torch.float16, CPU) == torch.float16
    for wrong in ("int8", "single", torch.int8):
        with pytest.raises(ValueError, match="dtype must be"):
            resolve_dtype(wrong, CPU)


def test_progress_bars_come_back() -> None:
    transformers_logging.enable_progress_bar()  # a worker of another test may have switched them off for good
    with pytest.raises(KeyError), hide_progress_bars():
        assert not transformers_logging.is_progress_bar_enabled()
        raise KeyError
    assert transformers_logging.is_progress_bar_enabled()
