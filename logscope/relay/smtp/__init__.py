"""SMTP without sockets: the server's dialogue, its rules, and the client that hands mail to a next hop."""
