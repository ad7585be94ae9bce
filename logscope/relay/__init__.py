"""A small balancer and SMTP relay on real sockets, logging the way HAProxy and Postfix do.

Everything outside `rim/` is told the time and handed bytes, and hands back what to send, to store and to
log: it can be tested in memory. `rim/` alone knows asyncio, files and the clock.
"""
