"""Each stage's time beside its floor, measured in one run: ``python -m benchmarks``."""
