"""The benchmark of the gateway: `python -m benchmarks`, described in `benchmarks/README.md`."""
