"""The stages of the pipeline: one function each, safe to kill and to call again."""
