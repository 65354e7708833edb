"""Each figure of docs/benchmarks.md as one command: `python -m benchmarks.k_sweep --help`.

All end with one line of JSON on stdout, whose `ratio` compares two things of the same run.
"""
