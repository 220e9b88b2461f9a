"""What vecstore costs and gives, measured: `python -m bench.run`."""
