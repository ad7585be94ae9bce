"""The verdict on one target as the machine contract has it: its numbers, what followed, and what to do."""

from __future__ import annotations

from logscope.detect.company import ENOUGH
from logscope.detect.consequences import Consequences
from logscope.detect.effects import total as total_effects
from logscope.detect.header_lines import REFUSED as REFUSED_LINES
from logscope.detect.header_lines import TOLD, line_count, nameless
from logscope.detect.remedies import steps as remedy
from logscope.detect.signs import signs
from logscope.detect.states import onset
from logscope.detect.tally import ALONE, BY_PORT, BY_TEXT, CUT, FATES, REFUSED, SEEN, Node, Place
from logscope.detect.verdict import Verdict
from logscope.detect.words import (
    COUNTS,
    MASKED,
    MISSING,
    UNEXPECTED,
    UPSTREAM,
    Document,
    change_document,
    moment,
    places,
    state_document,
    texts,
)


class Account:
    """Tells of one target."""

    def __init__(self, found: Verdict, consequences: Consequences) -> None:
        self._found = found
        self._target, self._spans = found.target, found.spans
        self._tally, self._signals = found.tally, found.signals
        self._consequences = consequences

    def document(self) -> Document:
        """The target as the machine contract has it."""
        name, node = self._target.name, self._target.node or Node(None, None)
        since, until = onset(self._found.states) or (None, None)
        finding = self._found.verdict not in ("passed", "unknown")
        more = {
            "ongoing": finding and self._found.states[-1].kind != "passed",
            "states": [state_document(state) for state in self._found.states],
            "began_after": change_document(self._found.began_after, since),
            "peers": sorted(self._stand_ins()) if finding else [],
            "consequences": self._followed() if finding else [],
            "signs": signs(
                self._target,
                self._stand_ins(),
                self._found.verdict == "passed",
                self._tally,
                self._signals,
            ),
        }
        return {
            "frontend": name.frontend,
            "backend": name.backend,
            "server": name.server,
            "mta_host": node.mta_host,
            "service": node.service,
            "family": name.family,
            "verdict": self._found.verdict,
            "cause": self._found.cause,
            "confidence": self._found.confidence,
            "share_masked": self._share_masked(),
            "since": moment(since) if finding else None,
            "until": moment(until) if finding else None,
            "evidence": self._evidence() | more,
            "remedy": self._remedy() if finding else [],
        }

    def _stand_ins(self) -> set[str]:
        """Addresses that the mail server saw in its clients' place."""
        if self._found.verdict == "masked_upstream":
            return {gateway} if (gateway := self._found.gateway()) else set()
        behind = {address for cell in self._target.cells.values() for address in cell.behind}
        gateway = self._found.gateway(share=0.0) if UPSTREAM in self._found.kinds else None
        return behind | set(self._target.peers) | ({gateway} if gateway else set())

    def _followed(self) -> list[Document]:
        """What was decided on these addresses."""
        cells = self._target.cells.values()
        if self._found.verdict == "masked_upstream":
            done = total_effects(cell.seen_effects for cell in cells)
        else:
            own = [cell.effects for cell in cells]
            done = total_effects([*own, *(peer.effects for peer in self._target.peers.values())])
        host = self._target.node.mta_host if self._target.node else None
        return self._consequences.of(host, self._stand_ins(), done)

    def _share_masked(self) -> float | None:
        """Share of the sessions in which the mail server saw another address than the client's."""
        if self._found.verdict == "masked_upstream":
            return 1.0
        if self._found.verdict in ("unknown", MISSING):
            return None
        hidden = sum(self._spans[kind].count for kind in (MASKED, UNEXPECTED, UPSTREAM))
        return round(hidden / self._found.explained, 4)

    def _evidence(self) -> Document:
        target = self._target
        here = self._tally.peers.get(target.node, {}) if target.node else {}
        unjoined = sum(peer.span.count for peer in (target.peers or here).values())
        joined = sum(target.joined.values())
        errors = target.headers or self._found.header_lines(REFUSED_LINES)
        counts = (
            self._found.sessions, joined + unjoined, joined, self._spans["passed"].count,
            self._spans[MASKED].count, self._spans[UNEXPECTED].count, self._spans[MISSING].count,
            line_count(errors), target.alone, unjoined, sum(peer.probes for peer in here.values()),
            self._past_the_balancer(),
        )  # fmt: skip
        return dict(zip(COUNTS, counts, strict=True)) | {
            "examples": self._examples()[:3],
            "nameless_header": nameless(errors),
            "destinations": sorted(self._destinations()),
        }

    def _destinations(self) -> set[str]:
        """Where sessions with the balancer's address came to, as postscreen logs it."""
        own = {name for cell in self._target.cells.values() for name in cell.hidden_destinations}
        return own | {name for peer in self._target.peers.values() for name in peer.destinations}

    def _past_the_balancer(self) -> int:
        """Sessions that came to the listener from elsewhere; those that a balancer's log lacks may be "
        "such."""
        node, stand_ins = self._target.node, self._stand_ins()
        peers = self._tally.peers.get(node, {}) if node else {}
        others = (peer for address, peer in peers.items() if address not in stand_ins and not peer.masked)
        return sum(peer.span.count for peer in others)

    def _examples(self) -> list[Document]:
        """Lines that show it."""
        if self._found.verdict == "passed":
            return places(self._of_cells(*SEEN, ALONE, REFUSED))[:1]
        found: list[Document] = []
        if self._spans[MISSING].count:
            found += texts(self._target.headers)[:2] + places(self._of_cells(REFUSED))[:1]
        if self._spans[UNEXPECTED].count:
            found += self._told()[:2] + places(self._of_cells(BY_TEXT))[:1]
        if self._spans[MASKED].count or self._found.inferred:
            found += places(self._of_cells(BY_PORT))[:2]
            found += places(place for peer in self._target.peers.values() for place in peer.examples)[:2]
            found += places(self._of_cells(ALONE, REFUSED))[:1]
        return found or places(self._of_cells(*range(FATES)))

    def _told(self) -> list[Document]:
        host = self._target.node.mta_host if self._target.node else None
        return texts([one for one in self._signals.lines if one.meaning == TOLD and one.mta_host == host])

    def _of_cells(self, *fates: int) -> list[Place]:
        cells = self._target.cells.values()
        return [place for cell in cells for fate in fates for place in cell.examples.get(fate, [])]

    def _remedy(self) -> list[str]:
        """What refuses mail is cured first."""
        name, node = self._target.name, self._target.node or Node(None, None)
        subject = remedy.Subject(name.backend, name.server, node.mta_host, node.service)
        upstream = self._spans[UPSTREAM].count and not self._spans[MASKED].count
        if self._found.verdict == UPSTREAM:
            return remedy.masked_upstream(self._found.gateway() or "the gateway")
        if self._spans[UNEXPECTED].count >= ENOUGH or self._found.verdict == UNEXPECTED:
            return remedy.unexpected_header(subject)
        if self._spans[MISSING].count >= ENOUGH or self._found.verdict == MISSING:
            if nameless(self._target.headers):
                return remedy.nameless_header(subject)
            return remedy.missing_header(subject)
        if upstream:
            return remedy.masked_upstream(self._found.gateway(share=0.0) or "the gateway")
        return remedy.masked(subject, ports_logged=self._ports_logged())

    def _ports_logged(self) -> bool:
        """Whether the balancer's own port joined masked sessions: its log has it."""
        hidden = self._target.span(BY_PORT, CUT).count
        return hidden > sum(cell.hidden_by_time for cell in self._target.cells.values())
