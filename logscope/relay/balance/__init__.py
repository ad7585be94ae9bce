"""HAProxy's TCP mode without sockets: which server is next, how a session ends, when a server counts as
down."""
