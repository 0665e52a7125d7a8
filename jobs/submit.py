"""Former name of `jobs.spark_entrypoint`, kept for one release; change your spark-submit commands to the new path."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).with_name("spark_entrypoint.py")), run_name="__main__")
