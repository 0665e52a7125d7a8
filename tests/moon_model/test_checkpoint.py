"""Compact storage: close to the original, small, and safe to read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from moon_model.checkpoint import (
    INDEX_FILE,
    MAX_INT8_ERROR,
    MAX_SHARD_BYTES,
    SCALE_BLOCK,
    STORAGE_FORMAT,
    count_folder_bytes,
    load_state_dict,
    measure_parts,
    save_state,
)
from moon_model.configuration_moon import MoonConfig
from moon_model.fingerprint import list_weight_files
from moon_model.modeling_moon import MoonModel

Factory = Callable[..., MoonConfig]
CONFIG = MoonConfig()


def stored(folder: Path, state: dict[str, Tensor], **options: int) -> dict[str, Tensor]:
    save_state(state, CONFIG, folder, **options)
    return load_state_dict(folder)


def relative_error(restored: Tensor, original: Tensor) -> float:
    return float((restored - original).norm() / original.norm())


@given(seed=st.integers(0, 2**31), rows=st.integers(1, 20), columns=st.integers(1, 40))
def test_a_matrix_comes_back_nearly(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int, columns: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=draw) * torch.logspace(-3, 3, rows)[:, None]
    restored = stored(tmp_path_factory.mktemp("w"), {"a.weight": weight})["a.weight"]
    assert (restored.shape, restored.dtype) == (weight.shape, torch.float32)
    assert relative_error(restored, weight) <= MAX_INT8_ERROR
    assert ((restored - weight).abs().amax(1) <= weight.abs().amax(1) / 100).all()


def test_vectors_and_zeros_come_back_exactly(tmp_path: Path) -> None:
    state = {"norm.weight": torch.randn(9), "zero.weight": torch.zeros(3, 4)}
    restored = stored(tmp_path, state)
    assert all(torch.equal(restored[name], state[name]) for name in state)


def test_bfloat16_is_used_where_int8_hurts(tmp_path: Path) -> None:
    save_state({"a.smooth.weight": torch.randn(8, 1000)}, CONFIG, tmp_path)
    assert measure_parts(tmp_path)[0].kinds == "int8"
    heavy = torch.full((8, 1000), 0.4)
    heavy[:, 0] = 127.0
    save_state({"a.heavy.weight": heavy}, CONFIG, tmp_path)
    assert measure_parts(tmp_path)[0].kinds == "bfloat16"
    assert relative_error(load_state_dict(tmp_path)["a.heavy.weight"], heavy) <= 0.004


def test_blocks_have_scales_of_their_own_where_a_few_columns_are_large(tmp_path: Path) -> None:
    rows = torch.randn(50, 4 * SCALE_BLOCK, generator=torch.Generator().manual_seed(0))
    rows[:, -1] = 12.0
    restored = stored(tmp_path, {"a.rows.weight": rows})["a.rows.weight"]
    assert measure_parts(tmp_path)[0].kinds == "int8"
    assert relative_error(restored[:, :-SCALE_BLOCK], rows[:, :-SCALE_BLOCK]) <= MAX_INT8_ERROR
    assert relative_error(restored, rows) <= MAX_INT8_ERROR


def test_copies_of_one_expert_are_stored_once(tmp_path: Path) -> None:
    one = torch.randn(1, 64, 64)
    state = {"same": one.repeat(6, 1, 1), "different": torch.randn(6, 64, 64)}
    restored = stored(tmp_path, state)
    assert restored["same"].shape == (6, 64, 64)
    assert relative_error(restored["same"], state["same"]) <= MAX_INT8_ERROR
    rows = {row.part: row for row in measure_parts(tmp_path)}
    assert rows["same"].parameters == rows["different"].parameters == 6 * 64 * 64
    assert rows["same"].stored * 6 == rows["different"].stored


def test_files_stay_under_the_limit_and_old_ones_go(tmp_path: Path) -> None:
    state = {f"layer.{index}.weight": torch.randn(100, 100) for index in range(5)}
    files = save_state(state, CONFIG, tmp_path, max_shard_bytes=25_000)
    assert len(files) == 3
    assert MAX_SHARD_BYTES < 15 * 2**20
    assert list_weight_files(tmp_path) == sorted(files)
    assert count_folder_bytes([tmp_path]) == sum(file.stat().st_size for file in tmp_path.iterdir())
    save_state({"layer.weight": torch.randn(3, 3)}, CONFIG, tmp_path)
    assert len(list_weight_files(tmp_path)) == 1
    with pytest.raises(ValueError, match=r"layer\.0\.weight alone"):
        save_state(state, CONFIG, tmp_path, max_shard_bytes=5_000)


def test_the_model_loads_it_and_forgets_how_it_was_stored(tmp_path: Path, tiny_compact_config: Factory) -> None:
    torch.manual_seed(0)
    original = MoonModel(tiny_compact_config()).eval()
    save_state(original.state_dict(), original.config, tmp_path / "small")
    assert original.config.moon_storage is None
    loaded = MoonModel.from_pretrained(tmp_path / "small").eval()
    batch = {"input_ids": torch.tensor([[2, 5, 9, 11]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    batch["segment_ids"] = torch.tensor([[0, 3, 3, 4]])
    vectors = [model(**batch).embedding.detach() for model in (original, loaded)]
    assert float((vectors[0] * vectors[1]).sum()) > 0.999
    loaded.save_pretrained(tmp_path / "full")
    again = MoonModel.from_pretrained(tmp_path / "full").eval()
    weights = loaded.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in again.state_dict().items())


def test_a_model_that_lacks_weights_is_refused_not_filled_in_by_chance(
    tmp_path: Path, tiny_compact_config: Factory
) -> None:
    model = MoonModel(tiny_compact_config())
    older = {name: value for name, value in model.state_dict().items() if "projector.linear" not in name}
    save_state(older, model.config, tmp_path)
    with pytest.raises(ValueError, match=r"lacks 1 of the model's weights \(backbone.projector.linear.weight"):
        MoonModel.from_pretrained(tmp_path)


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    save_state({"a.weight": torch.randn(3, 3)}, CONFIG, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["moon_storage"]["version"] = 99
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"reads {STORAGE_FORMAT} 1"):
        load_state_dict(tmp_path)


def test_an_index_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    save_state({"a.weight": torch.randn(3, 3)}, CONFIG, tmp_path)
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": {"a.weight": "../secret.safetensors"}}))
    with pytest.raises(ValueError, match="outside its folder"):
        load_state_dict(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    save_state({"a.weight": torch.randn(3, 3)}, CONFIG, tmp_path)
    (tmp_path / INDEX_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=INDEX_FILE):
        load_state_dict(tmp_path)
