"""logscope: puts SMTP sessions back together from the logs of HAProxy and Postfix."""

__version__ = "0.1.0"
