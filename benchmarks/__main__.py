"""``make bench``: measure the encode stage."""

import sys

from benchmarks.encode_stage import main

sys.exit(main())
