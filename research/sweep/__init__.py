"""
Many parameter sets over the same bars, by a compiled simulation that makes the engine of record's trades.

``market`` reads what the node would read, ``settings`` turns a node configuration into numbers, ``kernel`` simulates,
``simulate`` is what others call. ``check`` runs chosen sets in BacktestNode and compares trade by trade.
"""
