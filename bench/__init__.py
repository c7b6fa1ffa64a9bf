"""Benchmarks: pytest-benchmark suites here, side-by-side runs in ``bench.peers``. See README.md."""
