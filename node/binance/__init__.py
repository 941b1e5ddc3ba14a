"""
What the stock Binance adapter lacks: corrected execution client and factory, wall-clock REST side-car, replay barrier.

The only room, with ``node.assembly``, that may touch underscored names of Nautilus.
"""
