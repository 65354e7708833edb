"""Judge trained networks: scores files, late fusion, accuracies, paired tests, the report.

A new fusion rule is a function and an entry in `fusion.FUSION_RULES`.
"""
