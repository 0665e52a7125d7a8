"""A virtual environment with every package of this one and without our code."""

import site
import subprocess
import sys
from pathlib import Path


def bare_environment(folder: Path) -> Path:
    """Make the environment and return its interpreter; it takes no disk space, because it uses this one's packages.

    ``.pth`` files of this environment, which make the repository importable, are ignored.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    (packages / "borrowed.pth").write_text("".join(f"{lender}\n" for lender in site.getsitepackages()))
    return folder / "bin" / "python"
