"""The way of one client, message or address through all hops.

`key` says what is looked for, `follow` finds the sessions and messages that belong together, `timeline` puts
their lines in order. `report/trace.py` draws the result.
"""

from logscope.trace.follow import TABLES, Stories, Story
from logscope.trace.key import Key
from logscope.trace.timeline import Moment, Timeline

__all__ = ["TABLES", "Key", "Moment", "Stories", "Story", "Timeline"]
