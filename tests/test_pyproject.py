"""Extras and locks name the same packages, and what the locks pin is within the ranges of the extras."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PROJECT = DOCUMENT["project"]
EXTRAS = {name: wanted for name, wanted in PROJECT["optional-dependencies"].items() if name != "stores"}
"""All but the drivers of object stores, which belong to no environment of ours: whoever needs one installs it."""

WANTED = {"": PROJECT["dependencies"], **EXTRAS}
LOCKED_BY = {"": "jobs", "jobs": "jobs", "train": "train", "dev": "dev"}
"""Lock of each extra; "" is what everyone gets."""


def read_lines(name: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (REPOSITORY / "requirements" / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def declared(extra: str) -> list[Requirement]:
    return [Requirement(text) for text in WANTED[extra]]


def pins(lock: str) -> dict[str, str]:
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in read_lines(f"{lock}.lock")}


@pytest.mark.parametrize("extra", WANTED)
def test_an_extra_names_what_its_lock_is_compiled_from(extra: str) -> None:
    assert names(declared(extra)) <= names(read_lines(f"{LOCKED_BY[extra]}.in"))


def test_what_is_locked_for_jobs_and_dev_is_declared() -> None:
    assert names(read_lines("jobs.in")) == names(declared("")) | names(declared("jobs"))
    assert names(read_lines("dev.in")) <= names(declared("")) | names(declared("jobs")) | names(declared("dev"))


@pytest.mark.parametrize("extra", WANTED)
def test_the_locked_version_is_within_the_declared_range(extra: str) -> None:
    locked = pins(LOCKED_BY[extra])
    for requirement in declared(extra):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("lock", ["train", "jobs-gpu"])
def test_every_lock_fits_what_everyone_gets(lock: str) -> None:
    locked = {re.sub("-gpu$", "", name): version for name, version in pins(lock).items()}
    for requirement in declared(""):
        if name := locked.get(canonicalize_name(requirement.name)):
            assert requirement.specifier.contains(name), requirement


def test_jobs_and_train_exclude_each_other_and_say_so() -> None:
    assert [{"extra": "jobs"}, {"extra": "train"}] in DOCUMENT["tool"]["uv"]["conflicts"]
    arrow = [r.specifier for extra in ("jobs", "train") for r in declared(extra) if r.name == "pyarrow"]
    assert not arrow[0].contains(pins("train")["pyarrow"])
    assert not arrow[1].contains(pins("jobs")["pyarrow"])
