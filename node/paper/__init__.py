"""
Paper trading: the exchange's live public data, orders matched by our own venue, books that survive a restart.

The node talks to it exactly as it talks to the exchange, over REST and WebSocket, so paper exercises the code that
would lose the money, not a shortcut around it.
"""
