"""
What a person and the watchdog hold the node by: run directory, heartbeat, commands, and the direct way to the venue.

Nothing here decides about trades. Commands travel over the message bus (topic ``argonaut.control``) to the risk guard
and the strategies; only when the node's event loop does not answer is the venue asked directly.
"""
