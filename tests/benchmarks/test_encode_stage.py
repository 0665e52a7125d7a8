import json
import subprocess
import sys

import pytest

from benchmarks.encode_stage import _compute_medians, _compute_ratios, render_stage_page


def speed(products_per_second, cpu):
    return {"products_per_second": products_per_second, "cpu_seconds_per_product": cpu}


RUNS = [
    {"bare": speed(40.0 * k, 0.05), "stage_warm": speed(36.0 * k, 0.06), "stage_cold": speed(30.0 * k, 0.08)}
    | {"plain": speed(18.0 * k, 0.055)}
    for k in (1.0, 0.5, 2.0)
]


def test_ratios_are_of_medians_and_the_plain_loop_is_compared_with_one_process():
    ratios = _compute_ratios(RUNS)
    assert ratios["stage_warm"] == pytest.approx(0.9)
    assert ratios["stage_cold"] == pytest.approx(0.75)
    assert ratios["plain"] == pytest.approx(0.9)
    assert ratios["stage_warm_cpu"] == pytest.approx(0.05 / 0.06)


def test_page_shows_speeds_memory_and_conditions():
    text = render_stage_page(
        {
            "products": 2000, "runs": RUNS, "medians": _compute_medians(RUNS), "ratios": _compute_ratios(RUNS),
            "peak_mib": {500: {"driver": 1, "jvm": 2, "worker": 3}}, "command": "the command", "started": "then",
            "machine": {"cpu": "a processor", "cores": 2, "load_average_before": [0.1, 0, 0]},
            "versions": {"torch": "2.13"},
        }
    )  # fmt: skip
    assert "| stage, warm | 36.0 | 0.90 | 0.83 | 60.0 |" in text
    assert "| 500 products | 1 | 2 | 3 |" in text
    assert "a processor, 2 cores, load 0.1 before the start; torch 2.13." in text


@pytest.mark.long
def test_the_whole_benchmark_runs_on_a_few_products(tmp_path):
    numbers = ["--products", "16", "--rounds", "1", "--memory", "8"]
    command = [sys.executable, "-m", "benchmarks.encode_stage", "--work", str(tmp_path), "--out", str(tmp_path / "out")]
    subprocess.run([*command, *numbers], check=False, capture_output=True)  # so few miss the aim: exit status 1
    result = json.loads((tmp_path / "out" / "encode_stage.json").read_text())
    assert result["peak_mib"]["8"]["worker"] > 100
    assert 0 < result["ratios"]["stage_cold"] <= result["ratios"]["stage_warm"] * 2
    assert "two bare loops" in (tmp_path / "out" / "encode_stage.md").read_text()
