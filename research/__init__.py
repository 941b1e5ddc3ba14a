"""
How we know: features, labels, datasets, training.

May import everything but ``node.web``; nothing live imports it.
"""
