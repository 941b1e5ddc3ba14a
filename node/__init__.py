"""
What runs: the live node, backtests, the venue, the journal and the one seam that assembles them.

May import every other room; nothing imports it. Everything that touches Nautilus internals lives in ``node.binance``
or ``node.assembly``.
"""
