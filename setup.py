"""Packages and data of the wheel; everything else about it is in pyproject.toml, which cannot rename a folder.

The shipped checkpoints stay in ``checkpoints/`` and become data of moon_model (see `moon_model.checkpoint_dir`).
"""

from setuptools import find_packages, setup

PACKAGES = ("demo_shop", "jobs", "moon_model", "schemas", "validation")

found = find_packages(include=[name + end for name in PACKAGES for end in ("", ".*")])
setup(
    packages=[*found, "moon_model.checkpoints"],
    package_dir={"moon_model.checkpoints": "checkpoints"},
    include_package_data=False,  # what package_data names, and no more
    package_data={
        "jobs.pages": ["templates/*.j2"],
        "moon_model": ["templates/*.j2"],
        "moon_model.checkpoints": ["*/*"],
    },
)
