"""What the access lists of a mail server say of a client's address.

Read are `mynetworks`, `postscreen_access_list` (postconf(5)) and `check_client_access` in smtpd's
restrictions, with tables of the types cidr (cidr_table(5)), hash, texthash, btree, lmdb (access(5)), inline
and static.
Tables are looked for beside main.cf, by their names; others say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from typing import NamedTuple

from logscope.site.facts import MailServer, parsed

PERMIT, REJECT = "permit", "reject"
RESTRICTIONS = tuple(
    f"smtpd_{stage}_restrictions" for stage in ("client", "helo", "sender", "relay", "recipient")
)
_SCREEN = "postscreen_access_list"
_KEYED = ("hash", "texthash", "btree", "lmdb", "dbm", "cdb")
_PASSING = ("OK", "PERMIT", "PERMIT_SASL_AUTHENTICATED")


class Decision(NamedTuple):
    """What one list says.

    Attributes:
        parameter: the list's.
        verdict: `permit` or `reject`.
        entry: that decides, and where it stands.
    """

    parameter: str
    verdict: str
    entry: str


class _Rule(NamedTuple):
    """A line of a table; keys that are no network are whole or partial addresses."""

    network: IPv4Network | IPv6Network | None
    key: str
    action: str
    entry: str


@dataclass(frozen=True)
class AccessLists:
    """Those of one mail server.

    Attributes:
        texts: of the tables, by the names that `tables` has; those that are missing say nothing.
    """

    server: MailServer
    texts: Mapping[str, str]

    def decisions(self, address: str) -> Iterator[Decision]:
        """What its lists decide about an address; each list once."""
        if self._trusted(address):
            yield Decision("mynetworks", PERMIT, self._entry_of_network(address))
        for parameter, items in self._lists:
            decided = self._first(items, address)
            if decided is not None:
                yield Decision(parameter, *decided)

    def _trusted(self, address: str) -> bool:
        return self.server.trusts(address)[0] is True

    def _entry_of_network(self, address: str) -> str:
        entry = self.server.trusts(address)[1]
        return f"{entry.entry} ({entry.place.file}:{entry.place.line})" if entry else ""

    @cached_property
    def _lists(self) -> list[tuple[str, list[Sequence[_Rule] | None]]]:
        """Each parameter's tables in order; None stands for `permit_mynetworks`."""
        parameters = self.server.parameters
        words = parameters.get(_SCREEN, "permit_mynetworks").replace(",", " ").split()
        lists = [(_SCREEN, [None if word == "permit_mynetworks" else self._table(word) for word in words])]
        for parameter in RESTRICTIONS:
            words = parameters.get(parameter, "").replace(",", " ").split()
            tables: list[Sequence[_Rule] | None] = []
            for word, following in pairwise(words):
                if word == "check_client_access":
                    tables.append(self._table(following))
            lists.append((parameter, tables))
        return lists

    def _first(self, items: Sequence[Sequence[_Rule] | None], address: str) -> tuple[str, str] | None:
        """The first table of a list that decides, and how."""
        for rules in items:
            if rules is None:
                if self._trusted(address):
                    return None  # told with mynetworks
                continue
            rule = _matching(rules, address)
            verdict = _verdict(rule.action) if rule else None
            if rule and verdict:
                return verdict, rule.entry
        return None

    def _table(self, word: str) -> Sequence[_Rule]:
        kind, _, name = word.partition(":")
        if kind == "static":
            return [_Rule(None, "", name, word)]
        if kind == "inline":
            pairs = (part.split("=", 1) for part in name.strip("{} ").split(",") if "=" in part)
            return [_Rule(None, key.strip(), action.strip(), word) for key, action in pairs]
        path = _beside(self.server, name)
        if kind not in ("cidr", *_KEYED) or path not in self.texts:
            return ()
        return list(_rules(kind, path, self.texts[path]))


def tables(server: MailServer) -> list[str]:
    """Files that its access lists may be in, beside main.cf."""
    values = (server.parameters.get(name, "") for name in (_SCREEN, *RESTRICTIONS))
    words = " ".join(values).replace(",", " ").split()
    named = (word.partition(":") for word in words if not word.startswith("inline:"))
    return [_beside(server, name) for kind, _, name in named if kind in ("cidr", *_KEYED)]


def _beside(server: MailServer, name: str) -> str:
    """A table's file in the directory of main.cf."""
    directory = server.files[0].rpartition("/")[0] if server.files else ""
    return f"{directory}/{name.rpartition('/')[2]}" if directory else name.rpartition("/")[2]


def _rules(kind: str, path: str, text: str) -> Iterator[_Rule]:
    for number, line in enumerate(text.splitlines(), start=1):
        key, _, action = line.strip().partition(" ")
        if not key or key.startswith("#") or not action.strip():
            continue
        entry, network = f"{key} ({path}:{number})", None
        if kind == "cidr":
            try:
                network = ip_network(key, strict=False)
            except ValueError:
                continue  # if, endif and negated patterns (cidr_table(5))
        yield _Rule(network, key, action.strip(), entry)


def _matching(rules: Sequence[_Rule], address: str) -> _Rule | None:
    """A cidr table's first match; of the others the longest part of the address (access(5))."""
    found = parsed(address)
    if found is None:
        return None
    for rule in rules:
        if rule.network is not None and rule.network.version == found.version and found in rule.network:
            return rule
    keyed = {rule.key: rule for rule in reversed(rules) if rule.network is None}
    key = str(found)
    separator = "." if found.version == 4 else ":"
    while key and keyed:
        if key in keyed:
            return keyed[key]
        key = key.rpartition(separator)[0]
    return keyed.get("")


def _verdict(action: str) -> str | None:
    """Of an action: numbers that are no reply codes permit, 4NN and 5NN refuse (access(5))."""
    word = action.split()[0].upper()
    if word in _PASSING:
        return PERMIT
    if word in ("REJECT", "DEFER"):
        return REJECT
    if word.isdecimal():
        return REJECT if len(word) == 3 and word[0] in "45" else PERMIT
    return None
