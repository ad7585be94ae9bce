"""What is held of one target, and since when; `account` tells it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from logscope.detect.company import ENOUGH
from logscope.detect.header_lines import NO_ADDRESS, TOLD, HeaderLines, line_count, nameless
from logscope.detect.signals import Change, Signals
from logscope.detect.states import cause_of, course, history
from logscope.detect.tally import (
    ALONE,
    BY_PORT,
    BY_TEXT,
    CUT,
    FATES,
    REFUSED,
    SEEN,
    UNCLEAR,
    Cell,
    Gateway,
    Node,
    Peer,
    Span,
    Tally,
)
from logscope.detect.targets import ACCIDENT, Target, total
from logscope.detect.timeline import State, Timeline
from logscope.detect.words import (
    CAUSES,
    GATEWAY_AMONG,
    MASKED,
    MISSING,
    NAMELESS_TOO,
    PLAIN,
    UNEXPECTED,
    UPSTREAM,
)

MINOR = 0.02
"""A second kind that was inferred, not joined, must have this share at least."""
MINOR_TIMED = 0.1
"""The same for visible clients among masked ones that were joined by address and time: some join by
accident."""
SAME_ADDRESSES = 0.5
"""Share of the lone sessions' client addresses that the mail server names, too: only the join failed then."""
NEARLY_ALL_THERE = 0.8
"""Or so much of what the mail server names: then it is the other sessions that it never took."""
STRAYED, MINOR_STRAYED = 3, 0.25
"""Another target has so many times the masked sessions that were joined by time: these may be its own,
unless they have this share."""
MINOR_BORROWED = 0.4
"""Visible sessions that may be another frontend's must be this share of all that the target has."""
LOST = 0.25
"""Share of sessions with a header whose lines about it may be missing."""
MINOR_FAMILY = 0.1
"""The same where the other target has the clients of the other family on the same way."""
NOT_SEEN = (BY_PORT, BY_TEXT, CUT, ALONE, REFUSED)
CHANGED = 5
"""Sessions of the other family that must be hidden, and as many seen, to say that the way has changed."""
MOSTLY = 0.5
"""Share of the masked sessions that must show a header."""
HEADER_FIRST = 0.9
"""Share of masked sessions with a refused unknown command: the header, where postscreen does not look at
it."""
GATEWAY_SHARE, GATEWAY_SESSIONS = 0.95, 20
"""One private address carries this share of so many sessions, under different names: a gateway."""
GATEWAY_NAMES, GATEWAY_MANY = 3, 12
"""So many different names at least, and half of those that were said, up to this many."""
GATEWAY_LIKE = re.compile(r"(10|172|192\.168)(\.\d+)+\.1$|f[cd][0-9a-f:]*::1$")
"""Addresses that routers and container networks give to their gateways; one name less will do for them."""

_ALL_FATES = range(FATES)


class Verdict:
    """The verdict on one target.

    Attributes:
        spans: its sessions by what is held of them: passed, masked, unexpected_header, missing_header.
        inferred: how many of them were not joined.
        hidden_kind, joined_kind: what inferred sessions, and those joined by the balancer's port, are.
        kinds: those that count; the others are accidents.
        by_name: it passed because the mail server names the same clients; nothing is joined.
        states: what held when.
        began_after: the reload or start that may have brought about the first state in disorder.
        verdict, cause, confidence: the judgement, why in a sentence, and how sure from 0 to 1.
    """

    def __init__(self, target: Target, tally: Tally, signals: Signals) -> None:
        self.target, self.tally, self.signals = target, tally, signals
        self.spans = {
            "passed": target.passed,
            MASKED: target.span(BY_PORT) if target.refused.span.count else target.span(BY_PORT, CUT),
            UNEXPECTED: target.span(BY_TEXT),
            MISSING: Span(),
            UPSTREAM: Span(),
        }
        self.inferred = 0
        self.hidden_kind = self.joined_kind = MASKED
        self._read_commands()
        self._explain_lone()
        self._read_silence()
        self._leave_out_own()
        self._add_unclear()
        self.kinds: list[str] = []
        self.by_name = False
        self.verdict, self.cause, self.confidence = self._judge()
        self.states = self._history()
        self.began_after = self._began_after()

    # --- numbers --------------------------------------------------------------------------------------------

    def _read_commands(self) -> None:
        """Masked sessions that show a header, in text or as a command, are of one that was not expected."""
        masked = self.spans[MASKED].count
        if masked and (self._header_refused(masked) or self._header_told(masked)):
            self.joined_kind = UNEXPECTED
            self.spans[UNEXPECTED] = self.spans[UNEXPECTED].join(self.spans[MASKED])
            self.spans[MASKED] = Span()

    def _header_refused(self, masked: int) -> bool:
        """Whether the masked sessions had the header refused as a command: most of them, or some of them and
        most of all that go the same way. A `server` line treats both families alike."""
        cells = list(self.target.cells.values())
        if _header_first(cells, masked):
            return True
        way = [cell for key, cell in self.tally.cells.items() if key[1:4] == self.target.name[:3]]
        hidden = sum(cell.spans[fate].count for cell in way for fate in (BY_PORT, CUT))
        return sum(one.header_first for one in cells) >= ENOUGH and _header_first(way, hidden)

    def _explain_lone(self) -> None:
        """Give the sessions that only the balancer saw to a kind, if anything explains them."""
        target = self.target
        self.spans[MISSING] = target.refused.span
        self.inferred = target.hidden.span.count
        if not self.inferred:
            return
        by_text = self.spans[UNEXPECTED].count
        told = self._header_told(self.inferred, by_text) or self.inferred <= LOST * by_text
        told = told or _header_first(target.peers.values(), self.inferred)
        kind = UNEXPECTED if told else MASKED
        self.hidden_kind = kind
        self.spans[kind] = self.spans[kind].join(target.hidden.span)

    def _read_silence(self) -> None:
        """Sessions that said nothing show no header, either: joined by time, they are of the kind of those
        that showed one, or health checks."""
        cells = self.target.cells.values()
        masked, told = self.spans[MASKED], self.spans[UNEXPECTED]
        said, by_time = (sum(getattr(one, name) for one in cells) for name in ("said", "hidden_by_time"))
        if masked.count and told.count >= ENOUGH > said and 2 * by_time > masked.count:
            self.joined_kind = UNEXPECTED
            self.spans[UNEXPECTED], self.spans[MASKED] = told.join(masked), Span()

    def _header_told(self, sessions: int, others: int = 0) -> bool:
        """Whether the listener logged a header, as if a client had sent it, in most of so many sessions.

        Args:
            others: sessions that are known to have one.
        """
        told = sum(one.sessions for one in self.header_lines(TOLD))
        return told - others >= max(ENOUGH, MOSTLY * sessions)

    def header_lines(self, meaning: int) -> list[HeaderLines]:
        """Those of the listener."""
        lines = (one for one in self.signals.lines if one.meaning == meaning)
        return [one for one in lines if Node(one.mta_host, one.service) == self.target.node]

    def _leave_out_own(self) -> None:
        """A session of the balancer's own looks the same either way: it is no witness for the clients."""
        own = {address for _, address, peer in self._peers_of_host() if peer.masked}
        count = sum(
            gateway.count
            for cell in self.target.cells.values()
            for address, gateway in cell.gateways.items()
            if address in own
        )
        passed = self.spans["passed"]
        if count and self.spans[MASKED].count:
            self.spans["passed"] = Span(max(0, passed.count - count), passed.first, passed.last)

    def _add_unclear(self) -> None:
        """Several sessions at the mail server have the client's address: it was passed, whichever is the
        one."""
        hidden = total(span for kind, span in self.spans.items() if kind != "passed")
        if not hidden.count:
            self.spans["passed"] = self.spans["passed"].join(self.target.span(UNCLEAR))

    def _peers_of_host(self) -> list[tuple[Node, str | None, Peer]]:
        """All peers that no balancer session explains, at any listener of the target's host."""
        if self.target.node is None:
            return []
        return [
            (node, address, peer)
            for node, peers in self.tally.peers.items()
            if node.mta_host == self.target.node.mta_host
            for address, peer in peers.items()
        ]

    @property
    def sessions(self) -> int:
        """How many the balancer logged."""
        return self.target.span(*_ALL_FATES).count

    @property
    def explained(self) -> int:
        """Of how many it is known what became of the client's address."""
        return sum(span.count for span in self.spans.values())

    # --- the judgement --------------------------------------------------------------------------------------

    def _judge(self) -> tuple[str, str, float | None]:
        if self.explained < min(ENOUGH, ACCIDENT * self.sessions) or not self.explained:
            return self._judge_addresses()
        kinds = [kind for kind, span in self.spans.items() if span.count >= self._least(kind)]
        if not kinds and self._borrowed():
            return self._judge_addresses()  # its few visible sessions are likelier another's
        kinds = kinds or [max(self.spans, key=lambda kind: self.spans[kind].count)]
        self.kinds = kinds
        if kinds == ["passed"] and (gateway := self.gateway()):
            return UPSTREAM, CAUSES[UPSTREAM].format(gateway=gateway), self._certainty(0.9)
        if "passed" in kinds:
            kinds = self.kinds = self._with_gateway(kinds)
        if len(kinds) > 1:
            return "mixed", self._mixture(kinds), self._certainty(0.95 if self.inferred else 0.999)
        told = NO_ADDRESS if kinds == [MISSING] and nameless(self.target.headers) else kinds[0]
        cause = CAUSES[told].format(peer=self._stand_in(), lines=line_count(self.target.headers))
        if kinds == [UNEXPECTED] and nameless(self.header_lines(TOLD)):
            cause += NAMELESS_TOO
        return kinds[0], cause, self._certainty(0.97 if self.inferred else 0.999)

    def _stand_in(self) -> str:
        """The one of them that it saw most often."""
        seen = sum((cell.behind for cell in self.target.cells.values()), Counter[str]())
        for address, peer in self.target.peers.items():
            seen[address] += peer.span.count
        return max(sorted(seen), key=lambda address: seen[address], default="the balancer")

    def _with_gateway(self, kinds: list[str]) -> list[str]:
        """The kinds, with the sessions that came from a gateway among the others taken out of the passed."""
        gateway = self.gateway(share=0.0)
        count = self._clients_of(gateway) if gateway else 0
        if not count:
            return kinds
        passed = self.spans["passed"]
        self.spans["passed"] = Span(max(0, passed.count - count), passed.first, passed.last)
        self.spans[UPSTREAM] = Span(count, passed.first, passed.last)
        left = self.spans["passed"].count >= self._least("passed")
        return [kind for kind in kinds if kind != "passed" or left] + [UPSTREAM]

    def _least(self, kind: str) -> float:
        """Sessions that a kind must have to count."""
        if self._changed_alike():
            return 1
        if kind != "passed" and (strayed := self._strayed()):
            return max(ENOUGH, strayed * self.explained)
        if kind == "passed" and self._borrowed():
            return max(ENOUGH, MINOR_BORROWED * self.sessions)
        if not self.inferred:
            return ENOUGH
        if kind != "passed" and self._nobody_else_meanwhile():
            return CHANGED
        timed = sum(cell.timed for cell in self.target.cells.values())
        doubtful = kind == "passed" and 2 * timed > self.spans["passed"].count
        return max(ENOUGH, (MINOR_TIMED if doubtful else MINOR) * self.explained)

    def _nobody_else_meanwhile(self) -> bool:
        """Whether no client was seen while others were hidden: accidents are spread among the other sessions,
        a way that changed is not, however few sessions went it."""
        hidden = self.target.hidden.span
        if hidden.first is None or hidden.last is None or hidden.count < CHANGED:
            return False
        cells = self.target.cells.values()
        return not any(cell.timeline.count([*SEEN, UNCLEAR], hidden.first, hidden.last) for cell in cells)

    def _changed_alike(self) -> bool:
        """Whether the clients of the other family, who go the same way, are hidden from a moment on, or until
        one, and so are its own: a `server` line treats both alike, so that few of its own will do.
        """
        own = list(self.target.cells.values())
        way = [cell for key, cell in self.tally.cells.items() if key[1:4] == self.target.name[:3]]
        others = [cell for cell in way if not any(cell is one for one in own)]
        seen = total(span for cell in others for span in cell.passed.values())
        hidden = total(cell.spans[fate] for cell in others for fate in NOT_SEEN)
        ours = self.spans["passed"], total(span for kind, span in self.spans.items() if kind != "passed")
        if min(seen.count, hidden.count) < CHANGED or not all(span.count for span in ours):
            return False
        return any(
            max(before.last or 0, our_before.last or 0) < min(after.first or 0, our_after.first or 0)
            for before, after, our_before, our_after in ((seen, hidden, *ours), (hidden, seen, *ours[::-1]))
        )

    def _borrowed(self) -> bool:
        """Whether its visible sessions, joined by address and time alone, may be those of another frontend at
        the same listener (or of another server, where hosts have no names), which has many more of them."""
        timed = sum(cell.timed for cell in self.target.cells.values())
        passed, node = self.spans["passed"].count, self.target.node
        if node is None or 2 * timed <= passed:
            return False
        others: Counter[tuple[str | None, str | None]] = Counter()
        for key, cell in self.tally.cells.items():
            # Hosts without a name are one: another server's sessions may be taken for its own, too.
            server = key.server if node.mta_host is None else None
            own_server = self.target.name.server if node.mta_host is None else None
            if (key.frontend, server) != (self.target.name.frontend, own_server):
                others[key.frontend, server] += cell.passed.get(node, Span()).count
        return max(others.values(), default=0) >= STRAYED * passed

    def _strayed(self) -> float:
        """The share that its masked sessions must have, if they were joined by time alone and may be those of
        others at the same mail server, who have many more of them; 0 if not.

        Clients of the other family on the same way are others, too, but mostly share its fate.
        """
        cells = self.target.cells.values()
        by_time = sum(cell.hidden_by_time for cell in cells)
        hidden = self.target.span(BY_PORT, BY_TEXT, CUT).count
        if self.target.node is None or 2 * by_time <= hidden:
            return 0.0
        host, way = self.target.node.mta_host, self.target.name[:3]
        share = 0.0
        for key, cell in self.tally.cells.items():
            here = any(node.mta_host == host for node in cell.nodes)
            if any(cell is own for own in cells) or not here or cell.hidden_by_time < STRAYED * by_time:
                continue
            same = (key.frontend, key.backend, key.server) == way
            share = max(share, MINOR_FAMILY if same else MINOR_STRAYED)
        return share

    def _certainty(self, most: float) -> float:
        """From 0 to 1: more sessions say it more surely, unexplained ones less."""
        unexplained = max(0, self.sessions - self.explained)
        few = 1 - 0.5 / (self.explained + 1)
        return round(most * few * (1 - 0.5 * unexplained / (self.sessions + 1)), 3)

    def _judge_addresses(self) -> tuple[str, str, float | None]:
        """Nothing is joined or explained: do both logs name the same clients at least?"""
        share, there = self.target.named, self.target.named_there
        if share < SAME_ADDRESSES and there < NEARLY_ALL_THERE:
            self.spans = dict.fromkeys(self.spans, Span())
            return "unknown", self._what_is_missing(), None
        self.spans["passed"] = self.target.span(ALONE, REFUSED)
        self.kinds, self.by_name = ["passed"], True
        if gateway := self.gateway():
            return "masked_upstream", CAUSES["masked_upstream"].format(gateway=gateway), 0.7
        if share < SAME_ADDRESSES:
            self.spans["passed"].count = self.target.named_sessions
            return "passed", CAUSES["same_addresses_there"].format(share=there), 0.6
        return "passed", CAUSES["same_addresses"].format(share=share), 0.7

    def _what_is_missing(self) -> str:
        name, node = self.target.name, self.target.node
        server = f"{name.backend}/{name.server}"
        lone = f"the {self.target.alone} sessions of {name.frontend} to {server}"
        hosts = sorted(
            filter(None, {one.mta_host for one in self.tally.peers} | set(self.signals.mail_hosts))
        )
        if not self.signals.mail_hosts and not self.tally.mta_sessions:
            return f"No line of Postfix was read: the mail log of the host behind {server} is missing."
        if node is None:
            return (
                f"No session at a mail server fits {lone}; there are mail logs of {', '.join(hosts)}. "
                f"The mail log of the host behind {server}, for the same time, is missing."
            )
        host = node.mta_host or "the mail server"
        there = Counter({address: peer.span.count for _, address, peer in self._peers_of_host() if address})
        for busiest, count in there.most_common(1):
            if count >= ENOUGH:
                return (
                    f"Whether {lone} are those that {host} logged cannot be told ({count} came from "
                    f"{busiest}): they do not begin and end together. Lines of one of the logs are missing, "
                    "or its clock is far off. `%bi:%bp` behind the other fields of HAProxy's log-format, and "
                    "smtpd_client_port_logging = yes where there is no postscreen, would decide it."
                )
        return (
            f"{host} logged no session that fits {lone}: its postscreen and "
            "smtpd lines (`CONNECT from`, `connect from`) of the same time are missing."
        )

    def _clients_of(self, gateway: str) -> int:
        """Sessions of this target that came from an address."""
        cells = self.target.cells.values()
        return sum(cell.gateways[gateway].count for cell in cells if gateway in cell.gateways)

    def gateway(self, share: float = GATEWAY_SHARE) -> str | None:
        """A private address that many clients, nearly all if not told otherwise, share, under many names."""
        counts: Counter[str] = Counter()
        for cell in self.target.cells.values():
            counts.update({address: gateway.count for address, gateway in cell.gateways.items()})
            counts.update(address for address in cell.lone.addresses() if address in self.tally.gateways)
        for address, count in counts.most_common(1):
            everywhere = self.tally.gateways.get(address, Gateway())
            names = everywhere.names
            many = count >= max(ENOUGH, share * self.spans["passed"].count)
            different = len(names.different)
            least = GATEWAY_NAMES - bool(GATEWAY_LIKE.match(address))
            varied = different >= max(least, min(names.count, GATEWAY_MANY) / 2)
            if many and varied and everywhere.count >= GATEWAY_SESSIONS:
                return address
        return None

    def _mixture(self, kinds: Sequence[str]) -> str:
        """How the sessions divide, and where."""
        parts = [f"{self.spans[kind].count} {PLAIN[kind]}" for kind in kinds]
        text = "Of the sessions " + ", ".join(parts) + "."
        if UPSTREAM in kinds:
            text += " " + GATEWAY_AMONG.format(gateway=self.gateway(share=0.0))
        hidden = [
            str(name)
            for name, cell in self.target.cells.items()
            if not any(cell.spans[fate].count for fate in SEEN)
        ]
        if hidden and len(hidden) < len(self.target.cells):
            text += f" No client's address came through {', '.join(sorted(hidden))}."
        return text

    # --- in time --------------------------------------------------------------------------------------------

    @property
    def course(self) -> tuple[Timeline, dict[int, str]]:
        """What became of the sessions in time."""
        inner = UPSTREAM if UPSTREAM in self.kinds else "passed"
        return course(
            self.target, self.kinds, self.joined_kind, self.hidden_kind, inner_kind=inner, named=self.by_name
        )

    def _history(self) -> list[State]:
        found = history(*self.course, self.kinds)
        if self.verdict == "masked_upstream":
            return [replace(state, kind=self.verdict) for state in found]
        return found

    def _began_after(self) -> Change | None:
        """Only what changed within these logs has such a cause."""
        begun = [state for state in self.states[1:] if state.kind != "passed"]
        if not begun or self.states[0].kind != "passed":
            return None
        hosts = {*self.target.cells, self.target.node.mta_host if self.target.node else None}
        return cause_of(begun[0].first, self.signals.changes, hosts)


def _header_first(counted: Iterable[Cell | Peer], hidden: int) -> bool:
    """Whether nearly every session that said anything had an unknown command refused, or as many as matter.

    The address's health checks say something, too, so not all that say anything are clients'.
    """
    counted = list(counted)
    said, refused = sum(one.said for one in counted), sum(one.header_first for one in counted)
    return refused >= ENOUGH and refused >= min(HEADER_FIRST * said, MOSTLY * hidden)
