"""
The durable record: what was signalled, judged, ordered, filled and earned. The truth for money and kill-switch state.

The only room that writes to the journal database.
"""
