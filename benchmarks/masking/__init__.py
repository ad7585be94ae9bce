"""How often the masking verdict is right, over many small sites: `python -m benchmarks.masking`."""
