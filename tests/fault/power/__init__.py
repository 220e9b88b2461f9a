"""Power loss: what a process wrote is replayed up to every moment, and opened."""
