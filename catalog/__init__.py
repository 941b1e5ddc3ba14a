"""Where market data lives: ingestion, instruments, sample data, readers over the Nautilus parquet catalog."""
