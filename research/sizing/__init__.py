"""
How much to risk per trade: the ancestor's Monte-Carlo, and a block bootstrap of the real trades.

``research.sizing.ancestor`` draws two-valued trades from ranges around the observed figures; ``research.sizing.blocks``
resamples the R multiples themselves in blocks, so that runs of losses stay together.
"""
