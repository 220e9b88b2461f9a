"""How much of the exact answers a plan finds, measured."""
