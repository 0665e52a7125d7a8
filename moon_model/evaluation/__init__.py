"""The benchmark: the paper's zero-shot tasks, baselines and intervals (reference/paper.md, "Benchmark")."""
