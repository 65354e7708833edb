"""Work on a Ray cluster, one machine or many: the only package that imports Ray.

`tasks`: the cluster, and a function over many items. `train`, with `desk`, `fail_fast` and
`memory_share`: data-parallel training. `heads`: trainings on stored features. `search`: many
trainings at once. `jobs`: whole commands, on a cluster that goes on without us.
"""
