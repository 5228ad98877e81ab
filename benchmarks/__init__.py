"""Each benchmark is one command that prints a table: `python -m benchmarks.throughput`."""
