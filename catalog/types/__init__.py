"""
Data types of the catalog that Nautilus has no form for: name them in a run as ``catalog.types:OpenInterest`` and so on.

Importing this package registers them with Nautilus: in Python for one-shot runs, in its Rust reader for chunked
ones.
"""

from catalog.types.custom import (
    CUSTOM,
    BarFlow,
    DepthShare,
    FundingSettlement,
    IndexPrice,
    Liquidation,
    LongShortRatios,
    OpenInterest,
    PremiumIndex,
)

__all__ = [
    "CUSTOM",
    "BarFlow",
    "DepthShare",
    "FundingSettlement",
    "IndexPrice",
    "Liquidation",
    "LongShortRatios",
    "OpenInterest",
    "PremiumIndex",
]
