"""Training of one stream's network: losses, optimiser, the loop, and the fit that resumes.

Knows nothing of Ray: `stpa.compute.train` runs `fit` on a cluster.
"""
