"""What outlives a run: how far it had come, and what it had written."""
