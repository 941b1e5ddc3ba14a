"""Defects of market data, found and named: see :func:`catalog.quality.inspection.inspect`."""
