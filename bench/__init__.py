"""Benchmarks: `python -m bench`; rules and how to repeat them are in README.md."""
