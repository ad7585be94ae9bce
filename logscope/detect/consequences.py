"""What followed from clients not being seen, as the logs show it: what was decided on the wrong address.

Each is a document: `kind`, `severity` (critical, warning or info), `count` (sessions, messages or lines),
`text`, `examples`, and what else is known of it. The worst come first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from logscope.detect import address_lines, effects
from logscope.detect.address_lines import AddressLines
from logscope.detect.company import ENOUGH
from logscope.detect.effects import Effects
from logscope.detect.header_lines import Example
from logscope.detect.relayed import Relayed
from logscope.detect.signals import Signals
from logscope.site import Site

SEVERITIES = ("critical", "warning", "info")
NEARLY_ALL = 0.9
"""Share of the sessions in which it happened: it happened to all of them on account of the address."""
SILENT = 0.05
"""How likely it may be, at most, that no session was listed by chance: then masking has silenced the "
"lists."""
MANY = 20
"""Sessions from which on it is worth a word that none was listed, where nothing tells how many should be."""
MANY_LOGINS = 5
"""Failed logins on one address from which it is near a ban; fail2ban's `maxretry` is 5."""
SUSPECTED_DOMAINS, SUSPECTED_MESSAGES = 2, 3
"""Unless our domains are known, mail to so many others, so much of it, is a suspicion."""

_MAY_RELAY = "permit_mynetworks"
"""In smtpd_relay_restrictions, unless these are set otherwise (postconf(5))."""

Document = dict[str, Any]


class Consequences:
    """What is looked up for each target.

    Args:
        signals: lines about addresses.
        relayed: mail that went elsewhere, by host and peer.
        site: what the configurations say; empty without any.
        seen: what was done to sessions whose clients the mail servers saw.
    """

    def __init__(
        self,
        signals: Signals,
        relayed: Mapping[tuple[str | None, str | None], Relayed],
        site: Site,
        seen: Effects,
    ) -> None:
        self._signals, self._relayed, self._site, self._seen = signals, relayed, site, seen

    def of(self, mta_host: str | None, addresses: Collection[str], done: Effects) -> list[Document]:
        """Of one target.

        Args:
            addresses: those that the mail server saw in its clients' place.
            done: to the sessions in which it did.
        """
        peers = ", ".join(sorted(addresses)) or "the balancer"
        relayed = list(self._relay(mta_host, addresses))
        found = [
            *relayed,
            *self._lists(mta_host, addresses, peers, done),
            *(() if relayed else self._trust(mta_host, addresses, done)),
            *self._known(peers, done),
            *self._dnsbl(mta_host, addresses, peers, done),
            *self._limits(mta_host, addresses),
            *self._logins(mta_host, addresses, peers, done),
        ]
        return sorted(found, key=lambda one: SEVERITIES.index(one["severity"]))

    def _lines(self, what: str, mta_host: str | None, addresses: Iterable[str]) -> list[AddressLines]:
        keys = ((what, mta_host, address) for address in sorted(addresses))
        return [self._signals.addresses[key] for key in keys if key in self._signals.addresses]

    # --- each of them ---------------------------------------------------------------------------------------

    def _relay(self, mta_host: str | None, addresses: Iterable[str]) -> Iterator[Document]:
        for address in sorted(addresses):
            mail = self._relayed.get((mta_host, address))
            if mail is None:
                continue
            known = bool(self._site.domains)
            if not known and (len(mail.domains) < SUSPECTED_DOMAINS or mail.count < SUSPECTED_MESSAGES):
                continue
            domains = [domain for domain, _ in mail.domains.most_common(5)]
            told = f"{_many(mail.count, 'message')} for {_listed(domains, len(mail.domains))}"
            brought = f"{told}, brought without login through {address}, "
            sure = known and self._all_domains_known(mta_host)
            because = self._trusted(mta_host, [address])
            because = f", because {because}" if because else ""
            if sure:
                text = f"OPEN RELAY: {brought}went to domains that are not ours{because}."
            elif known:
                text = (
                    f"Open relay suspected: {brought}went to domains that the configuration does not "
                    f"name{because}; "
                    "some of its lists are in tables that were not given."
                )
            else:
                text = (
                    f"Open relay suspected: {brought}went out to public hosts. Whether these domains are "
                    "ours, "
                    "--postfix-config tells."
                )
            yield _document(
                "open_relay", "critical" if sure else "warning", mail.count, text, suspected=not sure,
                queue_ids=mail.queue_ids, domains=domains,
            )  # fmt: skip

    def _all_domains_known(self, mta_host: str | None) -> bool:
        server = self._site.mail_server(mta_host or "")
        servers = [server] if server else self._site.mail_servers
        return all(one.domains_complete for one in servers)

    def _trusted(self, mta_host: str | None, addresses: Iterable[str]) -> str:
        """Which entry trusts one of the addresses, and where it stands; empty where none is known to."""
        server = self._site.mail_server(mta_host or "")
        for address in sorted(addresses):
            trusted, entry = server.trusts(address) if server else (None, None)
            if trusted and entry is not None:
                place = f"{entry.place.file}:{entry.place.line}" if entry.place.line else entry.place.file
                return f"mynetworks has {entry.entry} ({place})"
        return ""

    def _lists(
        self, mta_host: str | None, addresses: Collection[str], peers: str, done: Effects
    ) -> Iterator[Document]:
        allowed, denied = done.counts[effects.ALLOWLISTED], done.counts[effects.DENYLISTED]
        if allowed >= ENOUGH:
            text = (
                f"postscreen let {allowed} of {done.sessions} sessions in untested because {peers} is on its "
                f"allowlist: {self._why_allowed(mta_host, addresses)}"
            )
            examples = self._examples(address_lines.ALLOWLISTED, mta_host, addresses)
            yield _document("allowlisted", "warning", allowed, text, examples)
        if denied:
            text = (
                f"postscreen held {denied} of {done.sessions} sessions for denylisted because {peers} is: an "
                "entry for one client, or for the balancer, hits all."
            )
            examples = self._examples(address_lines.DENYLISTED, mta_host, addresses)
            yield _document("denylisted", "critical", denied, text, examples)

    def _why_allowed(self, mta_host: str | None, addresses: Iterable[str]) -> str:
        if because := self._trusted(mta_host, addresses):
            return f"{because}."
        server = self._site.mail_server(mta_host or "")
        if server is not None and all(server.trusts(address)[0] is False for address in addresses):
            return "an entry of postscreen_access_list, for mynetworks does not have it."
        return (
            "it is in mynetworks, or in a table of postscreen_access_list. In mynetworks it would let every "
            "client relay: an open relay, unless `postconf mynetworks` there says otherwise."
        )

    def _trust(self, mta_host: str | None, addresses: Iterable[str], done: Effects) -> Iterator[Document]:
        """Who may relay by configuration, whether anybody did or not."""
        because = self._trusted(mta_host, addresses)
        server = self._site.mail_server(mta_host or "")
        relay = server.parameters.get("smtpd_relay_restrictions", _MAY_RELAY) if server else ""
        if because and _MAY_RELAY in relay and done.sessions >= ENOUGH:
            text = (
                f"Whoever comes through the balancer may relay without a login: {because}, and "
                f"{_MAY_RELAY} means the balancer, not its clients."
            )
            yield _document("may_relay", "critical", done.sessions, text)

    def _known(self, peers: str, done: Effects) -> Iterator[Document]:
        known = done.counts[effects.TAKEN_AS_KNOWN]
        if known >= ENOUGH and done.share(effects.TAKEN_AS_KNOWN) >= 0.5:
            text = (
                f"postscreen took {known} of {done.sessions} sessions for those of one known client (PASS "
                "OLD): one "
                f"client's passed tests count for everybody behind {peers}."
            )
            yield _document("tested_once", "warning", known, text)

    def _dnsbl(
        self, mta_host: str | None, addresses: Collection[str], peers: str, done: Effects
    ) -> Iterator[Document]:
        listed = done.counts[effects.LISTED] + done.counts[effects.REFUSED_BY_LIST]
        if listed:
            lines = self._lines(address_lines.LISTED, mta_host, addresses)
            score = max((one.largest for one in lines), default=0)
            scored = f", with a score of up to {score}" if score else ""
            text = (
                f"DNS blocklists were asked about {peers}, and have it{scored}: {listed} of {done.sessions} "
                "sessions "
                "were judged by that."
            )
            examples = self._examples(address_lines.LISTED, mta_host, addresses)
            yield _document("dnsbl_on_balancer", "critical", listed, text, examples)
            return
        share = self._seen.share(effects.LISTED) + self._seen.share(effects.REFUSED_BY_LIST)
        if share and (1 - min(share, 1.0)) ** done.sessions <= SILENT:
            text = (
                f"DNS blocklists had nothing against any of {done.sessions} sessions, for they were asked "
                "about "
                f"{peers}. Of the sessions whose clients are seen {share:.0%} are listed."
            )
            yield _document("dnsbl_silent", "warning", round(share * done.sessions), text)
        elif not share and done.sessions >= MANY and self._asks_lists(mta_host):
            if done.share(effects.ALLOWLISTED) >= NEARLY_ALL:
                return  # who is not tested is not looked up
            text = (
                f"postscreen_dnsbl_sites is set, and none of {done.sessions} sessions was found on a list: "
                f"what is looked up there is {peers}, never a client."
            )
            yield _document("dnsbl_silent", "warning", done.sessions, text)

    def _asks_lists(self, mta_host: str | None) -> bool:
        """Whether the configuration given has postscreen ask DNS blocklists."""
        server = self._site.mail_server(mta_host or "")
        return server is not None and bool(server.parameters.get("postscreen_dnsbl_sites", "").strip())

    def _limits(self, mta_host: str | None, addresses: Iterable[str]) -> Iterator[Document]:
        for lines in self._lines(address_lines.LIMIT, mta_host, addresses):
            text = (
                f"Limits meant for one client hit {lines.address}, and so everybody: "
                f"{_many(lines.count, 'line')} "
                "say that one was exceeded."
            )
            yield _document("limits", "critical", lines.count, text, _quoted([lines]))

    def _logins(
        self, mta_host: str | None, addresses: Collection[str], peers: str, done: Effects
    ) -> Iterator[Document]:
        lines = self._lines(address_lines.LOGIN, mta_host, addresses)
        failed = max(done.failed_logins, sum(one.count for one in lines))
        if failed < MANY_LOGINS:
            return
        users = len({user for one in lines for user in one.users})
        whose = f" of {users} different users" if users > 1 else ""
        text = (
            f"{failed} failed logins{whose} stand against {peers}: whatever bans addresses by them "
            "(fail2ban) is "
            "about to ban the balancer, and with it all mail."
        )
        yield _document("failed_logins", "critical" if users > 1 else "warning", failed, text, _quoted(lines))

    def _examples(self, what: str, mta_host: str | None, addresses: Iterable[str]) -> list[Document]:
        return _quoted(self._lines(what, mta_host, addresses))


def _document(
    kind: str, severity: str, count: int, text: str, examples: Sequence[Document] = (), **more: Any
) -> Document:
    return {
        "kind": kind,
        "severity": severity,
        "count": count,
        "text": text,
        "examples": list(examples),
        **more,
    }


def _quoted(lines: Iterable[AddressLines]) -> list[Document]:
    """A line or two of them."""
    examples: list[Example] = [example for one in lines for example in one.examples[:1]]
    return [vars(example) for example in examples[:2]]


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _listed(names: Sequence[str], of: int) -> str:
    shown = ", ".join(names)
    return shown if of <= len(names) else f"{shown} and {of - len(names)} more"
