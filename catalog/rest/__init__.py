"""Market data over the exchange's REST interface: what is missing in the raw store, fetched within a weight budget."""
