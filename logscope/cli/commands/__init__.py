"""One module for each command: its options, one call, its exit code."""
