"""Puts the shipped checkpoints into the wheel; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"


class BuildWithCheckpoints(build_py):
    """Copies ``checkpoints/`` to ``moon_model/checkpoints``, where `moon_model.checkpoint_dir` finds them."""

    def run(self) -> None:
        """Build the packages, then copy; an editable install uses the checkout's own folder."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "moon_model" / "checkpoints"
            shutil.copytree(CHECKPOINTS, target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithCheckpoints})
