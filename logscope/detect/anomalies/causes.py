"""Which signs have one cause: one finding for a failing server, not one for each thing that its failure
changed.

Causes are tried from the most to the least specific. The first that fits some signs takes them, and with them
every other sign that it explains and that begins while it lasts. What nothing explains is a finding of its
own. What turns out to be in order (a known sender's newsletter, a restart, a monitor) is kept apart with the
reason why it is no finding.
"""

from __future__ import annotations

from collections.abc import Callable

from logscope.detect.anomalies import culprits, outages, paths, shifts, volumes
from logscope.detect.anomalies.explain import Cause
from logscope.detect.anomalies.returns import is_return, may_be_the_day
from logscope.detect.anomalies.signs import Sign, Signs
from logscope.detect.anomalies.sorting import Sorter

_STEPS: tuple[Callable[[Sorter], None], ...] = (
    outages.silences, outages.no_server, outages.clocks, outages.gone_servers, paths.turned_away,
    outages.failing_servers, paths.masking, paths.hops,
    culprits.actors, culprits.newcomers, shifts.auth_outage, shifts.blocklists_silent, shifts.attacks,
    shifts.worse_servers, shifts.mail, shifts.latencies, shifts.reasons, shifts.terminations, shifts.outcomes,
    volumes.volumes, volumes.parts,
)  # fmt: skip
_SHARES = ("share", "latency", "delivery_latency", "size", "delivery", "destination")


def sort(signs: Signs, allowed: Callable[[str], bool] = lambda _: False) -> tuple[list[Cause], list[Cause]]:
    """What is wrong, the earliest first; and what only looks so.

    Args:
        signs: what was found.
        allowed: addresses and networks whose doings are nobody's concern.
    """
    sorter = Sorter(signs, allowed)
    sorter.left = [
        sign for sign in signs.signs if sign.detector != "rate" and not _is_the_season(sorter, sign)
    ]
    for step in _STEPS:
        step(sorter)
    return sorted(
        sorter.found, key=lambda cause: (cause.since, cause.kind, cause.scope.name)
    ), sorter.ordinary


def _is_the_season(sorter: Sorter, sign: Sign) -> bool:
    return sign.detector in _SHARES and (is_return(sorter, sign) or may_be_the_day(sorter, sign))
