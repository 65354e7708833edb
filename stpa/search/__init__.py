"""Hyper-parameter search: what is tried, on which videos it is judged, what trials have shown.

Knows nothing of Ray: `stpa.compute.search` runs the trials on a cluster.
"""
