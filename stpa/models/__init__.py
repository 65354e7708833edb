"""The networks: a timm backbone, a head that aggregates frames, and their files on disk.

Imports with only torch, timm, numpy and safetensors present, for use in other projects.
"""
