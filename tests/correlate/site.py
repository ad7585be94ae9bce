"""A small mail site written by hand: logs line by line, and of which session each line is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import logscope

START = datetime(2026, 11, 22, 19, 4, tzinfo=UTC).timestamp()
BALANCER = "172.20.5.4"
CLIENT = "192.0.2.68"
QUIT = "ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"


@dataclass(frozen=True)
class Joined:
    """One session that was found: whose lines it has, and what it says of its links."""

    owners: dict[str, set[str]]  # by log
    confidence: str
    links: list[dict[str, Any]]
    client: tuple[str | None, int | None]
    known_from: str

    @property
    def names(self) -> set[str]:
        return set().union(*self.owners.values())

    @property
    def is_whole(self) -> bool:
        """Both logs' lines, and all of one session."""
        return set(self.owners) == {"haproxy.log", "mail.log"} and len(self.names) == 1


@dataclass
class Site:
    """Times are seconds after `START`. `precise` stamps have microseconds, others whole seconds; lines that
    are `nameless` name no host."""

    precise: bool = False
    nameless: bool = False
    _lines: dict[str, list[tuple[float, int, str, str]]] = field(
        default_factory=lambda: {"haproxy.log": [], "mail.log": []}
    )

    def line(self, log: str, at: float, name: str, text: str) -> None:
        lines = self._lines[log]
        lines.append((at, len(lines), name, text))

    def balancer(
        self,
        name: str,
        at: float,
        lasts: float,
        port: int,
        server: str,
        *,
        client: str = CLIENT,
        sent: int = 342,
        frontend: str = "ft_smtp",
        backend: str = "bk_smtp",
        more: str = "",
    ) -> None:
        accepted = datetime.fromtimestamp(START + at + 1e-6, UTC).strftime("%d/%b/%Y:%H:%M:%S.%f")[:-3]
        self.line(
            "haproxy.log",
            at + lasts,
            name,
            f"edge1 haproxy[1148]: {client}:{port} [{accepted}] {frontend} {backend}/{server} "
            f"1/0/{round(lasts * 1000)} {sent} -- 5/5/4/2/0 0/0{more}",
        )

    def screen(self, name: str, at: float, host: str, text: str) -> None:
        self.line("mail.log", at, name, f"{host} postfix/postscreen[947]: {text}")

    def smtpd(
        self,
        name: str,
        at: float,
        lasts: float,
        host: str,
        pid: int,
        client: str,
        *,
        service: str = "postfix",
        counters: str = QUIT,
        queue_id: str = "",
        queued_at: float | None = None,
    ) -> None:
        tag = f"{host} {service}/smtpd[{pid}]:"
        self.line("mail.log", at, name, f"{tag} connect from {client}")
        if queue_id:
            queued_at = at + 0.01 if queued_at is None else queued_at
            self.line("mail.log", queued_at, name, f"{tag} {queue_id}: client={client}")
        self.line("mail.log", at + lasts, name, f"{tag} disconnect from {client} {counters}")

    def visit(
        self,
        name: str,
        at: float,
        lasts: float,
        host: str,
        pid: int,
        peer: str,
        port: int,
        to: str,
        *,
        counters: str = QUIT,
    ) -> None:
        """A session at postscreen, which passes it on at once, and at smtpd, which logs no port."""
        self.screen(name, at, host, f"CONNECT from [{peer}]:{port} to [{to}")
        self.screen(name, at, host, f"PASS OLD [{peer}]:{port}")
        self.smtpd(name, at, lasts, host, pid, f"unknown[{peer}]", counters=counters)

    def cut_at(self, at: float) -> None:
        """The logs end here."""
        self._lines = {log: [line for line in lines if line[0] < at] for log, lines in self._lines.items()}

    def write(self, directory: Path) -> list[Path]:
        self._names: dict[tuple[str, int], str] = {}
        paths = []
        for log, lines in self._lines.items():
            text = []
            for number, (at, _, name, line) in enumerate(sorted(lines, key=lambda item: item[:2]), start=1):
                moment = datetime.fromtimestamp(START + at + 1e-7, UTC)
                stamp = moment.isoformat() if self.precise else moment.strftime("%b %d %H:%M:%S")
                text.append(f"{stamp} {line.split(' ', 1)[1] if self.nameless else line}\n")
                self._names[log, number] = name
            paths.append(directory / log)
            paths[-1].write_text("".join(text))
        return paths

    def join(self, directory: Path, **options: object) -> list[Joined]:
        """What logscope makes of the logs."""
        return list(self._joined(logscope.read_sessions(*self.write(directory), tz="UTC", **options)))

    def _joined(self, found: Any) -> Iterator[Joined]:
        for row in found.to_dict("records"):
            owners: dict[str, set[str]] = {}
            for event in row["events"]:
                log = Path(event["source"]).name
                owners.setdefault(log, set()).add(self._names[log, event["line_number"]])
            address, port = row["client_address"], row["client_port"]
            yield Joined(
                owners,
                row["join_confidence"],
                [dict(link) for link in row["links"]],
                (address if isinstance(address, str) else None, port if isinstance(port, int) else None),
                row["client_known_from"],
            )


def wrong(found: list[Joined], confidence: str) -> list[str]:
    """Sessions of this confidence that are made of lines of several."""
    return [
        json.dumps(sorted(one.names)) for one in found if one.confidence == confidence and len(one.names) > 1
    ]
