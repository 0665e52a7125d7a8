"""The benchmark: zero-shot tasks, baselines, metrics with intervals and the report (docs/paper.md, "Benchmark")."""
