"""One module per schema change, in order of its number."""
