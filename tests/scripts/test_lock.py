"""Tests of the committed locks, and of making a compiled lock portable."""

import re
from pathlib import Path

import lock
import pytest

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
PIN = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((REQUIREMENTS / f"{name}.lock").read_text()))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", lock.NAMES)
def test_a_committed_lock_is_portable_and_exact(name):
    text = (REQUIREMENTS / f"{name}.lock").read_text()
    assert lock.portable(text) == text
    assert "://" not in text
    assert "/work" not in text
    assert "--" not in re.sub(r"#.*", "", text), "no options: index and find-links belong to the machine"


@pytest.mark.parametrize("name", [name for name in lock.NAMES if name != "jobs-gpu"])
def test_every_direct_requirement_is_locked(name):
    wanted = [
        canonical(re.split(r"[=<>\s\[]", line, maxsplit=1)[0])
        for line in (REQUIREMENTS / f"{name}.in").read_text().splitlines()
        if line and not line.startswith(("#", "-"))
    ]
    assert wanted
    assert set(wanted) <= {canonical(pin) for pin in pins(name)}


def test_one_onnx_runtime_each_and_nothing_else_differs():
    cpu, gpu = pins("jobs"), pins("jobs-gpu")
    assert "onnxruntime" in cpu
    assert "onnxruntime" not in gpu
    assert "onnxruntime-gpu" in gpu
    assert {**cpu, "onnxruntime": ""} == {**{k: v for k, v in gpu.items() if k != "onnxruntime-gpu"}, "onnxruntime": ""}


def test_tests_run_on_what_the_jobs_run_on():
    jobs, dev = pins("jobs"), pins("dev")
    assert {name: dev[name] for name in dev.keys() & jobs.keys()} == {
        name: jobs[name] for name in dev.keys() & jobs.keys()
    }


def test_torch_carries_no_local_version():
    assert pins("jobs")["torch"] == pins("train")["torch"] == "2.13.0"


def test_the_schedulers_environment_has_no_full_spark():
    assert "pyspark" not in pins("airflow")
    assert "torch" not in pins("airflow")


def test_local_versions_are_dropped():
    assert lock.portable("torch==2.13.0+cpu         # via here\n") == "torch==2.13.0  # via here\n"


@pytest.mark.parametrize(
    "line", ["torch @ file:///opt/torch.whl", "--find-links /opt/wheels", "numpy>=2", "-e ../main", "numpy==2.*"]
)
def test_what_belongs_to_one_machine_or_is_not_exact_is_refused(line):
    with pytest.raises(ValueError, match="not an exact, portable pin"):
        lock.portable(f"{line}\n")


def test_the_gpu_input_swaps_the_runtime():
    assert lock.gpu_input("numpy\nonnxruntime==1.32.*\n") == f"numpy\n{lock.GPU_RUNTIME}\n"
    with pytest.raises(ValueError, match="found 0"):
        lock.gpu_input("numpy\n")
