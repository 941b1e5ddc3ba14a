"""Recording the live market: an actor that appends what the data client hears to segments, with or without trading."""
