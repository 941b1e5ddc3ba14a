"""
What decides: messages, strategies, protection, sizing.

Never imports ``node`` or ``research``. ``strategies.kernel`` imports nothing of ours.
"""
