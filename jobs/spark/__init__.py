"""The Spark session, its GPUs, progress and row counts."""
