"""What was trained, from what, and which of it is served.

`tracking` is the one door to MLflow; `judgement` says how a classifier did, and `rules` judge a
challenger by it; `promotion` moves the aliases.
"""
