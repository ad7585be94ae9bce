"""Accepted mail, without files or sockets: what a message is, when it is tried again, and what is
returned."""
