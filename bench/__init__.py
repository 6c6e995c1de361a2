"""Benchmarks: `python -m bench`. What must not go in here: anything that the broker needs to run."""
