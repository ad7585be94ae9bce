"""The way out, step by step, with the exact lines of the configurations that were given.

The order loses no mail: a listener that reads headers comes first and is tried; then the balancer is
switched to it, and what was logged since is judged; the old listener goes last. A header is only ever
expected by one service (`-o` in master.cf): in main.cf every other listener would wait for one, too. The
new listener is bound to the address that the balancer connects to and to no other, for whoever reaches it
can claim any address, 127.0.0.1 included, and relay.

What refuses mail is mended where it stands: nothing gets through there that could be lost. Sources: HAProxy
configuration manual 5.2 (`send-proxy`, `check-send-proxy`) and 8.2.3; postscreen(8), smtpd(8), master(5),
postconf(5) (postscreen_cache_map), proxymap(8).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from logscope.detect.remedies.edits import Draft
from logscope.haproxy.stock_formats import TCPLOG
from logscope.site.facts import Listener, LogOptions, MailServer, Route, Site, Target, parsed

FIRST_PORT = 10125  # content filters are usually at 10024 to 10027


@dataclass
class Step:
    """One thing to do, and how to see that it is done.

    Attributes:
        title: what, in a few words.
        why: why now, and what it does to mail.
        host: where; None for the balancer or where it is not known.
        diffs: changes of files, each by its name.
        commands: what to run then.
        check: what must hold before the next step.
    """

    title: str
    why: str
    host: str | None = None
    diffs: dict[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    check: str = ""

    def text(self) -> str:
        """As one of a verdict's remedies: a title, then indented what to change, to run and to see."""
        lines = [f"{self.title}. {self.why}"]
        lines += [line for diff in self.diffs.values() for line in diff.splitlines()]
        lines += [f"$ {command}" for command in self.commands]
        return "\n    ".join([*lines, *([f"Then: {self.check}"] if self.check else [])])


@dataclass(frozen=True)
class Wrong:
    """A target that needs a change.

    Attributes:
        kind: masked, unexpected_header or missing_header.
        frontends: of HAProxy, whose clients come this way.
        route: its configuration.
        peers: addresses that the mail server logs in its clients' place.
        shared: others come to the same listener without the balancer.
        relayed: mail was relayed because the balancer is trusted.
    """

    kind: str
    frontends: frozenset[str]
    route: Route
    peers: tuple[str, ...] = ()
    shared: bool = False
    relayed: bool = False

    @property
    def target(self) -> Target:
        """Its server line."""
        return self.route.target

    @property
    def listener(self) -> Listener:
        """The service that it reaches."""
        return self.route.listeners[0]


def plan(wrongs: Sequence[Wrong], site: Site, texts: Mapping[str, str]) -> list[Step]:
    """The steps for all targets together, in order.

    Args:
        wrongs: targets whose route has exactly one listener.
        texts: the files of the configurations, by the names that the site has.
    """
    return _Plan(site, texts).steps([one for one in wrongs if len(one.route.listeners) == 1])


class _Plan:
    """Steps, and the files as they are after each."""

    def __init__(self, site: Site, texts: Mapping[str, str]) -> None:
        self._site = site
        self._drafts = {name: Draft(name, text) for name, text in texts.items()}
        self._servers = {server.name: server for server in site.mail_servers}
        self._new_port = _free_port(site.listeners)

    def steps(self, wrongs: Sequence[Wrong]) -> list[Step]:
        """All of them."""
        in_place = [one for one in wrongs if one.kind == "unexpected_header" and not one.shared]
        missing = [one for one in wrongs if one.kind == "missing_header"]
        moved = [
            one for one in wrongs if one.kind == "masked" or (one.kind == "unexpected_header" and one.shared)
        ]
        found = [
            *self._expect_in_place(in_place),
            *self._send(missing),
            *self._close_relay([one for one in moved if one.relayed]),
            *self._log_ports([one for one in moved if one.kind == "masked"]),
            *self._new_listeners(moved),
            *self._switch(moved),
            *self._remove_old(moved),
            *self._distrust([one for one in moved if not one.relayed]),
        ]
        return [step for step in found if step.diffs]

    # --- what refuses mail ----------------------------------------------------------------------------------

    def _expect_in_place(self, wrongs: Iterable[Wrong]) -> Iterator[Step]:
        """The service is told to read the header that it gets."""
        for server, some in self._by_server(wrongs):
            done: set[str] = set()
            for one in some:
                listener = one.listener
                if listener.service not in done:
                    self._add_options(listener, [_expects(listener)])
                    done.add(listener.service)
            names = ", ".join(sorted(done))
            yield Step(
                f"{server.name}: let {names} read the PROXY header",
                "Mail through the balancer is refused or dropped there until this is done. The option stands "
                "with this service alone: in main.cf every other listener would wait for a header.",
                server.name,
                self._changed(server.files),
                ("postfix check", "postfix reload"),
                f"{_guarded(some)} Then `logscope masking` on the lines logged since says `passed`.",
            )

    def _send(self, wrongs: Sequence[Wrong]) -> Iterator[Step]:
        """The balancer sends the header that the service waits for."""
        if not wrongs:
            return
        for one in wrongs:
            self._edit_server(one, port=None)
        yield Step(
            "Balancer: send the PROXY header that the mail server waits for",
            "Every session through this way is refused until it is done.",
            None,
            self._changed_by_balancers(),
            self._reload_balancer(),
            f"{_guarded(wrongs)} Then `logscope masking` on the lines logged since says `passed`.",
        )

    # --- what hides the clients -----------------------------------------------------------------------------

    def _log_ports(self, wrongs: Sequence[Wrong]) -> Iterator[Step]:
        """The balancer logs its own port, by which masked clients are known exactly meanwhile."""
        frontends = {name for one in wrongs for name in one.frontends}
        for options in self._site.log_options:
            if options.frontend in frontends and not options.logs_source_port:
                self._log_port_of(options)
        yield Step(
            "Balancer: log the address and port that it connects from, meanwhile",
            "With `%bi:%bp` behind the other fields logscope knows each masked client exactly until the rest "
            "is "
            "done. Nothing else reads the log differently.",
            None,
            self._changed_by_balancers(),
            self._reload_balancer(),
            "HAProxy's lines end in an address and a port; open sessions go on in the old process.",
        )

    def _log_port_of(self, options: LogOptions) -> None:
        draft = self._drafts.get(options.place.file)
        known = options.log_format or TCPLOG
        if draft is None or options.place.line is None or '"' in known or "\\" in known:
            return
        text = f'    log-format "{known} %bi:%bp"'
        own = options.format_place
        if own and own.line and own.file == draft.name and _section_of(draft, own.line) == options.place.line:
            draft.replace(own.line, text)  # the last of several says what holds
        else:
            draft.insert_after(options.place.line, [text])

    def _new_listeners(self, wrongs: Iterable[Wrong]) -> Iterator[Step]:
        """A second listener beside the one in use, for headers only."""
        for server, some in self._by_server(wrongs):
            screens = [one for one in some if one.listener.daemon == "postscreen"]
            if screens:
                yield from self._share_cache(server)
            ports = [self._copy(one) for one in _once(some)]
            yield Step(
                f"{server.name}: add a listener that reads the PROXY header",
                "Mail goes on through the old listener meanwhile. The new one is bound to the address that "
                "the "
                "balancer connects to; see that nobody but the balancer reaches it, for whoever does can "
                "claim any "
                "address and relay.",
                server.name,
                self._changed(server.files),
                ("postfix check", "postfix reload"),
                _try(ports),
            )

    def _share_cache(self, server: MailServer) -> Iterator[Step]:
        """Two postscreen services of one instance cannot open one cache file (postscreen_cache_map)."""
        current = server.parameters.get("postscreen_cache_map", "")
        if current.startswith(("proxy:", "memcache:")):
            return
        kind = current or "btree:$data_directory/postscreen_cache"
        self._set(server, "postscreen_cache_map", f"proxy:{kind}")
        yield Step(
            f"{server.name}: let two postscreen services share their cache",
            "postscreen locks its cache: a second one would die with `unable to get exclusive lock`.",
            server.name,
            self._changed(server.files),
            ("postfix check", "postfix reload"),
            "Mail goes on; no `fatal` of postscreen in the log.",
        )

    def _copy(self, one: Wrong) -> str:
        """Add a copy of a service on the new port; returns where it listens."""
        listener = one.listener
        draft = self._drafts[listener.place.file]
        assert listener.place.line is not None
        block = draft.block(listener.place.line)
        first = draft.line(block[0])
        where = f"{_bracketed(one.target.address)}:{self._port_of(one)}"
        rest = [line for line in map(draft.line, block[1:]) if "syslog_name" not in line]
        fields = first.split(None, 1)
        lines = [f"{where} {fields[1] if len(fields) > 1 else ''}".rstrip(), *rest]
        name = f"{listener.tag.rpartition('/')[0]}{'-' if listener.own_name else '/'}proxied"
        lines += [f"    -o {_expects(listener)}", f"    -o syslog_name={name}"]
        draft.insert_after(block[-1], lines)
        return where

    def _switch(self, wrongs: Sequence[Wrong]) -> Iterator[Step]:
        """The balancer goes over to the new listeners, with the header."""
        if not wrongs:
            return
        for one in wrongs:
            self._edit_server(one, port=self._port_of(one))
        yield Step(
            "Balancer: connect to the new listeners, and send the header",
            "New sessions go the new way; sessions that are open end in the old process.",
            None,
            self._changed_by_balancers(),
            self._reload_balancer(),
            "`logscope masking` on the lines logged since says `passed` for every target, and mail is "
            "accepted. If "
            "not, undo this step: the old listeners are still there.",
        )

    def _remove_old(self, wrongs: Iterable[Wrong]) -> Iterator[Step]:
        """The old listener goes, if only the balancer used it."""
        for server, some in self._by_server(wrongs):
            for one in _once(some):
                draft = self._drafts[one.listener.place.file]
                if not one.shared and one.listener.place.line and not self._still_used(one, wrongs):
                    draft.remove(draft.block(one.listener.place.line))
            yield Step(
                f"{server.name}: remove the old listener",
                "It takes clients without a header, masked, from whoever reaches it.",
                server.name,
                self._changed(server.files),
                ("postfix check", "postfix reload"),
                "No session came to it since the switch: its syslog tag is not in the log any more.",
            )

    def _still_used(self, one: Wrong, wrongs: Iterable[Wrong]) -> bool:
        """Whether another way that is not moved ends at the same listener."""
        moved = {(other.target.backend, other.target.server) for other in wrongs}
        return any(
            one.listener in route.listeners and (route.target.backend, route.target.server) not in moved
            for route in self._site.routes
        )

    # --- who is trusted -------------------------------------------------------------------------------------

    def _close_relay(self, wrongs: Sequence[Wrong]) -> Iterator[Step]:
        """Mail is being relayed for anybody: that ends first."""
        yield from self._trust_less(
            wrongs,
            "close the open relay now",
            "Everybody behind the balancer may relay, because its address is trusted. Clients that relay "
            "rightly "
            "through the balancer without logging in are refused from now on: let them log in, or trust "
            "their own "
            "addresses once the balancer shows them.",
        )

    def _distrust(self, wrongs: Sequence[Wrong]) -> Iterator[Step]:
        """A balancer that shows its clients needs no trust itself; local programs go on being trusted."""
        yield from self._trust_less(
            [
                replace(one, peers=tuple(peer for peer in one.peers if not _is_loopback(peer)))
                for one in wrongs
            ],
            "do not trust the balancer's address",
            "Clients are seen now. The balancer's own address would let everybody relay should the header "
            "ever be "
            "missing.",
        )

    def _trust_less(self, wrongs: Iterable[Wrong], what: str, why: str) -> Iterator[Step]:
        for server, some in self._by_server(wrongs):
            for address in sorted({peer for one in some for peer in one.peers}):
                self._take_out(server, address, some)
            yield Step(
                f"{server.name}: {what}",
                why,
                server.name,
                self._changed(server.files),
                ("postfix check", "postfix reload"),
                "A client that is not trusted is told `Relay access denied` for a domain that is not ours.",
            )

    def _take_out(self, server: MailServer, address: str, some: Iterable[Wrong]) -> None:
        """Take an address out of mynetworks: its entry, or for this service where others need the entry."""
        trusted, entry = server.trusts(address)
        if not trusted or entry is None or entry.network is None or server.networks is None:
            return
        if _is_loopback(address):
            kept = [
                f"{'!' if one.excluded else ''}{one.entry}"
                for one in server.networks
                if one.network is None or not one.network.is_loopback
            ]
            screened = any(one.listener.daemon == "postscreen" for one in some)
            services = [one.listener for one in _once(some) if one.listener.daemon == "smtpd"]
            for listener in (*services, *(server.behind_postscreen if screened else ())):
                self._add_options(listener, [f"mynetworks={','.join(kept)}"])
            return
        entries = [f"{'!' if one.excluded else ''}{one.entry}" for one in server.networks]
        if entry.network.num_addresses == 1:
            entries.remove(entry.entry)
        else:
            entries.insert(entries.index(entry.entry), f"!{_bracketed(address)}")
        self._set(server, "mynetworks", " ".join(entries))

    # --- files ----------------------------------------------------------------------------------------------

    def _by_server(self, wrongs: Iterable[Wrong]) -> Iterator[tuple[MailServer, list[Wrong]]]:
        found: dict[str, list[Wrong]] = {}
        for one in wrongs:
            found.setdefault(one.listener.mail_server, []).append(one)
        for name, some in found.items():
            if all(one.listener.place.file in self._drafts for one in some):
                yield self._servers[name], some

    def _port_of(self, one: Wrong) -> int:
        """The new port: the same on all servers, one for each old one."""
        olds = sorted({route.target.port or 0 for route in self._site.routes})
        return self._new_port + olds.index(one.target.port or 0)

    def _add_options(self, listener: Listener, options: Sequence[str]) -> None:
        draft = self._drafts[listener.place.file]
        assert listener.place.line is not None
        draft.insert_after(draft.block(listener.place.line)[-1], [f"    -o {option}" for option in options])

    def _set(self, server: MailServer, name: str, value: str) -> None:
        """Give a parameter of main.cf a value, in its place or at the end."""
        draft = self._drafts.get(server.files[0])
        if draft is None:
            return
        lines = draft.text.splitlines()
        at = [
            place
            for place, line in enumerate(lines, 1)
            if line.split("=", 1)[0].strip() == name and line[:1].strip()
        ]
        numbered = [number for number in at if draft.line(number)]
        if not numbered:
            draft.append([f"{name} = {value}"])
            return
        block = draft.block(numbered[-1])
        draft.replace(block[0], f"{name} = {value}")
        draft.remove(block[1:])

    def _edit_server(self, one: Wrong, port: int | None) -> None:
        """Give a server line the header, and another port."""
        place = one.target.place
        draft = self._drafts.get(place.file)
        if draft is None or place.line is None:
            return
        draft.replace(place.line, _server_line(draft.line(place.line), one.target, port))

    def _changed(self, files: Collection[str]) -> dict[str, str]:
        diffs = {name: self._drafts[name].diff() for name in files if name in self._drafts}
        return {name: diff for name, diff in diffs.items() if diff}

    def _changed_by_balancers(self) -> dict[str, str]:
        return self._changed([name for balancer in self._site.balancers for name in balancer.files])

    def _reload_balancer(self) -> tuple[str, ...]:
        files = " ".join(f"-f {name}" for balancer in self._site.balancers for name in balancer.files)
        return (f"haproxy -c {files}", "systemctl reload haproxy")


def _is_loopback(address: str) -> bool:
    found = parsed(address)
    return found is not None and found.is_loopback


def _expects(listener: Listener) -> str:
    return f"{listener.daemon}_upstream_proxy_protocol=haproxy"


def _free_port(listeners: Iterable[Listener]) -> int:
    """The first of some ports in a row that no service has."""
    taken = {one.port for one in listeners}
    port = FIRST_PORT
    while taken & set(range(port, port + 8)):
        port += 10
    return port


def _once(wrongs: Iterable[Wrong]) -> list[Wrong]:
    """One for each listener."""
    return list({(one.listener.mail_server, one.listener.service): one for one in wrongs}.values())


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _server_line(line: str, target: Target, port: int | None) -> str:
    """A `server` line with the header, and another port if there is one.

    Checks have the header whenever connections have it, unless they are sent to a `port` or `addr` of their
    own (HAProxy configuration manual 5.2, check-send-proxy). Those that go to the old port move along.
    """
    body, hash_, comment = line.rstrip().partition(" #")
    old = target.port
    if port is not None and old is not None:
        body = re.sub(
            rf"(\s{re.escape(_written(body, target))}):{old}(?=\s|$)", rf"\g<1>:{port}", body, count=1
        )
        if target.check_address == target.address and target.check_port == old:
            body = re.sub(rf"(\sport\s+){old}(?=\s|$)", rf"\g<1>{port}", body, count=1)
    body = body.rstrip()
    if target.header == "none":
        body += " send-proxy"
    elsewhere = re.search(r"\s(port|addr)\s", body)
    same = (target.check_address, target.check_port) == (target.address, old)
    if target.check and not target.check_header and elsewhere and same:
        body += " check-send-proxy"
    return body + (f" #{comment}" if hash_ else "")


def _written(body: str, target: Target) -> str:
    """The server's address as the line has it: an IPv6 address may stand in brackets."""
    bracketed = _bracketed(target.address)
    return bracketed if bracketed in body else target.address


def _section_of(draft: Draft, number: int) -> int | None:
    """The line that begins the section which a line is in: HAProxy's sections begin at the left margin."""
    for at in range(number, 0, -1):
        text = draft.line(at)
        if text[:1].strip() and not text.startswith("#"):
            return at
    return None


def _guarded(wrongs: Iterable[Wrong]) -> str:
    ports = ", ".join(sorted({f"{one.target.address}:{one.target.port}" for one in wrongs}))
    return (
        f"From a host that is not a balancer, connecting to {ports} must fail (firewall): whoever reaches a "
        "port "
        "that reads the header can claim any address."
    )


def _try(ports: Iterable[str]) -> str:
    one = next(iter(ports), "the new port")
    host, _, port = one.rpartition(":")
    return (
        "From the balancer: `printf 'PROXY TCP4 192.0.2.1 192.0.2.25 40000 25\\r\\n' | nc -q 8 "
        f"{host.strip('[]')} "
        f"{port}` gets a greeting, and the log says 192.0.2.1. From any other host it must not connect: bind "
        "and "
        "firewall."
    )
