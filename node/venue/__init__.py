"""
A local Binance USD-M futures venue that speaks the real REST and WebSocket protocol on loopback.

Imports no Nautilus: it stands on the other side of the wire. Reads bars and instruments through ``catalog``.
"""
