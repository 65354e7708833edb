"""Prefect flows: the order of the stages, their retries, and what a person watches.

Each runs alone on a workspace; `stpa.flows.retrain` runs them all. No science lives here.
"""
