"""Puts sessions back together: events of several hops in, sessions, messages and deliveries out.

What may decide that two events are of one client connection, and what may not:

* An address with a port, seen on both sides near in time, decides (`exact`). A port alone or a name never
does. * Skew between two hosts' clocks ranks candidates; it never excludes one.
* smtpd's lines belong to the session of their host and process id, from `connect` to `disconnect`.
* A queue id decides on one host between its first line and `removed`, because short ids are reused.
* Without ports, order, start and end decide one to one among the sessions of one address. Where more than one
  assignment fits, the link says `probable` with its probability, or nothing is linked and both say
  `ambiguous`.

Every function here is a step over columns: it holds no file, socket or clock. "Now" is the merged time of the
events themselves, so a log read at once and a log followed for a week give the same sessions.
"""
