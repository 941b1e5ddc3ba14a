"""
What listens and gates: ML filter, risk guard, recorder. Sends no orders.

May import ``strategies``; never ``node`` or ``research``.
"""
