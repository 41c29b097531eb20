"""The demonstration: an honest round trip, and a cheating server that is refused."""
