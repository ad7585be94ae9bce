"""postscreen(8) without sockets: which clients are let through to the SMTP server."""
