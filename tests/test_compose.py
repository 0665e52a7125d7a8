"""docker-compose.yml: valid by the Compose specification's schema, loopback ports only, no secrets, no unknown names.

There is no container engine here, so nothing else is checked.
"""

import importlib.resources
import json
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from jobs.settings import Settings
from jobs.spark.gpus import EXECUTOR_GPUS_KEY

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
ENDS = {"airflow-init"}
"""Services that end after their work."""
SECRET = re.compile(r"PASSWORD|SECRET|FERNET|TOKEN|ALCHEMY")


def example() -> dict[str, str]:
    lines = (REPOSITORY / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_schema_accepts_it_and_would_refuse_a_slip():
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: run `make setup`")
    schemas = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    document = yaml.safe_load(TEXT)
    assert [error.message for error in validator.iter_errors(document)] == []
    document["services"]["milvus"]["port"] = ["19530"]
    assert list(validator.iter_errors(document))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_healthy_pinned_and_bound_to_the_loopback(name):
    service = SERVICES[name]
    assert name in ENDS or "test" in service["healthcheck"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "build" in service or (not service["image"].endswith(":latest") and ":" in service["image"])
    assert set(service.get("depends_on", {})) <= SERVICES.keys()


def test_volumes_are_named_and_used():
    named = yaml.safe_load(TEXT)["volumes"].keys()
    mounted = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if isinstance(volume, str)
    }
    assert mounted == named


def test_secrets_come_from_the_environment_file_and_must_be_there():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert re.search(r"\$\{[A-Z_]+:\?", value), name
    required = set(re.findall(r"\$\{([A-Z_]+):\?", TEXT))
    assert required == {name for name, value in example().items() if not value}
    assert set(re.findall(r"\$\{([A-Z_]+)", TEXT)) == example().keys()
    assert ".env" in (REPOSITORY / ".gitignore").read_text().split()
    assert ".env" in (REPOSITORY / ".dockerignore").read_text().split()


def test_every_setting_is_one_of_ours():
    names = {name for service in SERVICES.values() for name in service.get("environment", {})}
    ours = {name.removeprefix("MOON_").lower() for name in names if name.startswith("MOON_")}
    assert ours
    assert ours <= Settings.model_fields.keys()


def test_what_is_built_and_mounted_in_exists():
    dockerfile = (REPOSITORY / "docker" / "Dockerfile").read_text()
    for service in SERVICES.values():
        if "build" in service:
            assert f"AS {service['build']['target']}\n" in dockerfile
    for profile in ("cpu", "gpu"):
        lines = (REPOSITORY / "docker" / f"spark-{profile}" / "spark-defaults.conf").read_text().splitlines()
        assert all(line.startswith(("#", "spark.")) for line in lines)
        settings = dict(line.split(maxsplit=1) for line in lines if line.startswith("spark."))
        assert settings.get(EXECUTOR_GPUS_KEY) == ("1" if profile == "gpu" else None)
        assert "spark.task.resource.gpu.amount" not in settings  # or every task of every stage would wait for a GPU
    for path in re.findall(r"(?:COPY --chown=moon|python3?(?:\.11)?) (scripts/\S+)", dockerfile):
        assert (REPOSITORY / path).is_file()


def test_the_discovery_script_says_what_spark_reads(tmp_path):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    fake.chmod(0o755)
    script = REPOSITORY / "docker" / "discover_gpus.sh"
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    answer = subprocess.run([str(script)], capture_output=True, text=True, check=True, env=path)
    assert json.loads(answer.stdout) == {"name": "gpu", "addresses": ["0", "1"]}
