"""Two-stream video action classifiers: train, judge and ship them.

Start at `stpa.stages` for the pipeline, at `stpa.models` for the networks.
"""
