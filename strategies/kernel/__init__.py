"""
Indicators, features and votes as numba steps over flat arrays: one implementation for research, backtest and live.

Imports neither Nautilus nor anything above it.
"""
