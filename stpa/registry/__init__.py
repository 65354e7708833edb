"""What was trained, from what, and which of it is served.

`tracking` is the one door to MLflow; `rules` judge a challenger; `promotion` moves the aliases.
"""
