"""Judge trained networks: scores files, late fusion, figures, paired tests, the report.

`judging` chooses the figures: accuracies, or average precisions where a video has many labels.

A new fusion rule is a function and an entry in `fusion.FUSION_RULES`.
"""
