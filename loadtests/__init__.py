"""Load scenarios: `python -m loadtests`. What must not go in here: benchmarks, which measure microseconds (bench/)."""
