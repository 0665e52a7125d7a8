"""The application that spark-submit runs: the `moon` command (``spark-submit jobs/spark_entrypoint.py nightly …``).

Python puts the script's own folder first in its path, where ``jobs`` is not found. The folder above replaces it, so
that a copy of the repository works without being installed.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

    from jobs.cli import main

    main()
