"""What a DAG task hands to spark-submit: the `moon` command, for ``spark-submit jobs/submit.py prepare --date …``.

Python puts the script's own folder first in its path, where ``jobs`` is not to be found; the folder above takes its
place, so that a copy of the repository works without being installed.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

    from jobs.cli import main

    main()
