"""Measure whether maps over the positions of a clip's frames point at the action.

A map has a value >= 0 for each frame and cell: attention, or evidence for a class. `spatial` asks
where it is high within the frames of the action, `temporal` which frames it prefers, `perturbation`
what the network answers without the cells that it prefers. Every metric of a map means something
only next to that of `baselines`.
"""
