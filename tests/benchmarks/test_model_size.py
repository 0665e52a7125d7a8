import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "model_size.py"


def run(folder, *arguments):
    command = [sys.executable, str(SCRIPT), "--out", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads((folder / "model_size.json").read_text()), (folder / "model_size.md").read_text()


@pytest.mark.long
def test_counts_a_3b_shaped_moon_without_building_it(tmp_path):
    result, text = run(tmp_path, "--num-experts", "5", "--moe-layers", "17", "35")
    size = result["size"]
    parts = ("vision", "embedding", "dense_decoder", "experts", "router")
    assert size["total"] == sum(size[part] for part in parts)
    assert size["dense_base"] == pytest.approx(3.755e9, rel=0.001)  # Qwen2.5-VL-3B without MOON
    one_expert = 3 * 2048 * 11008
    assert size["experts"] == 2 * 5 * one_expert
    assert size["activated_routed_token"] - size["activated_guided_token"] == 2 * one_expert
    assert "await a GPU" in text


@pytest.mark.long
def test_speed_part_runs_on_a_tiny_shape(tmp_path):
    result, text = run(tmp_path, "--shape", "tiny", "--device", "cpu", "--batch-sizes", "1", "2")
    assert [(row["images"], row["batch_size"]) for row in result["speed"]] == [(1, 1), (1, 2), (3, 1), (3, 2)]
    assert result["speed"][2]["tokens_per_product"] == 6 * (256 + 2) + 112
    assert all(row["products_per_s"] > 0 and row["gflop_per_product"] > 0 for row in result["speed"])
    for row in result["speed"]:
        assert row["share_of_matmul_peak"] == pytest.approx(row["tflop_per_s"] / result["matmul_peak_tflop_per_s"])
    assert "share of peak" in text
