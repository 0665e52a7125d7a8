"""Entry point of ``make bench``: measures the encode stage."""

import sys

from benchmarks.encode_stage import main

sys.exit(main())
