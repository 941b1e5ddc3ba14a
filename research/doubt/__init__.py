"""
Doubt: what a figure is worth, given how it was found.

Every examination returns a :class:`research.doubt.verdict.Doubt` with an enumerated reason. ``python -m
research.doubt`` examines a result; ``research.doubt.lookahead``, ``.recursive`` and ``.leaks`` examine strategies,
features and data sets.
"""
