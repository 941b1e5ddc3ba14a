"""What BacktestEngine lacks and the venue shares: slippage, funding settlement, liquidation."""
