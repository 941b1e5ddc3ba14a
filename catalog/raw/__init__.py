"""The raw store: every row of every data type as its source gave it, typed and exact."""
