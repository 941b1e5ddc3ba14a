"""Addresses of the exchange, for those who cannot wait until the adapter that knows them is loaded (a kill)."""

from typing import Final

REST: Final = {
    "live": "https://fapi.binance.com",
    "testnet": "https://demo-fapi.binance.com",
    "demo": "https://demo-fapi.binance.com",
}
"""REST interface of USD-M futures by environment, held equal to the adapter's by a test."""
