"""From a folder of videos to uint8 clips: the manifest, the datasets, decoding and sampling.

Start at `ingest` (writes the manifest) and `clips` (reads it for training and evaluation).
"""
