"""Clients for a relay: what they do, who they are, and a record of each connection."""
