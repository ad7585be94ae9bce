"""HAProxy: log-format strings as templates of the template language, and haproxy.cfg."""
