"""Registered models at work: videos from anywhere in, labels and probabilities out.

`load` (stpa/serving/load.py) gives a `Classifier`, for programs and `stpa predict` alike.
"""
