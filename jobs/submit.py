"""What a DAG task hands to spark-submit: the `moon` command, for ``spark-submit jobs/submit.py prepare --date …``."""

from jobs.cli import main

if __name__ == "__main__":
    main()
