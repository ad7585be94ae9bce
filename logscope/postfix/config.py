"""Reads main.cf and master.cf, as far as they say what the logs will look like and who expects a PROXY
header.

Format: postconf(5) and master(5). Every parameter and service is kept with its file, line and column, known
or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import MappingProxyType

from logscope.errors import Place, did_you_mean
from logscope.postfix.expand import ExpandError, expand
from logscope.postfix.logical import ConfigError, LogicalLine, logical_lines

__all__ = [
    "Config",
    "ConfigError",
    "Parameter",
    "Service",
    "read",
    "read_files",
    "read_main",
    "read_master",
    "read_texts",
]

DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "inet_interfaces": "all",
        "mail_name": "Postfix",
        "mydestination": "$myhostname, localhost.$mydomain, localhost",
        "mynetworks_style": "${{$compatibility_level} <level {2} ? {subnet} : {host}}",
        "multi_instance_name": "",
        "relay_domains": "${{$compatibility_level} <level {2} ? {$mydestination} : {}}",
        "compatibility_level": "0",
        "postscreen_upstream_proxy_protocol": "",
        "postscreen_upstream_proxy_timeout": "5s",
        "smtpd_client_port_logging": "no",
        "smtpd_upstream_proxy_protocol": "",
        "smtpd_upstream_proxy_timeout": "5s",
        "syslog_name": "${multi_instance_name?{$multi_instance_name}:{postfix}}",
        "postscreen_greet_wait": "${stress?{2}:{6}}s",
        "postscreen_greet_action": "ignore",
        "postscreen_dnsbl_action": "ignore",
        "postscreen_denylist_action": (
            "${postscreen_blacklist_action?{$postscreen_blacklist_action}:{ignore}}"
        ),
        "postscreen_access_list": "permit_mynetworks",
        "smtpd_client_connection_count_limit": "50",
    }
)
"""Built-in values of the parameters that logscope asks for."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """`name = value`, unexpanded."""

    name: str
    value: str
    place: Place


@dataclass(frozen=True, slots=True)
class Service:
    """One line of master.cf.

    Attributes:
        name: as written: a port or service name with or without an address for `inet`, a path for the others.
        type: `inet`, `unix`, `unix-dgram`, `fifo` or `pass`.
        private, unprivileged, chroot: y, n, or - for the default.
        wakeup, process_limit: as written; - for the default.
        command: the daemon, such as `smtpd`.
        arguments: what stands behind it, overrides included.
        overrides: the `-o` settings, the last of a name.
    """

    name: str
    type: str
    private: str
    unprivileged: str
    chroot: str
    wakeup: str
    process_limit: str
    command: str
    arguments: tuple[str, ...]
    overrides: Mapping[str, Parameter]
    place: Place

    @property
    def address(self) -> str:
        """The address an `inet` service listens on; empty for all of `inet_interfaces`."""
        host, colon, _ = self.name.rpartition(":")
        return host.removeprefix("[").removesuffix("]") if self.type == "inet" and colon else ""

    @property
    def port(self) -> str:
        """The port of an `inet` service: a number or a service name such as `smtp`; empty for others."""
        return self.name.rpartition(":")[2] if self.type == "inet" else ""

    @property
    def port_number(self) -> int | None:
        """The port as a number, for numbers and the service names of mail; None for others."""
        return int(self.port) if self.port.isdigit() else _PORTS.get(self.port)


_PORTS = {
    "smtp": 25,
    "mail": 25,
    "submission": 587,
    "smtps": 465,
    "submissions": 465,
    "urd": 465,
    "ssmtp": 465,
}


@dataclass(frozen=True)
class Config:
    """A Postfix instance.

    Attributes:
        parameters: of main.cf, the last of each name.
        services: of master.cf in its order; a later line with the same name and type replaces the earlier
            one.
    """

    parameters: Mapping[str, Parameter]
    services: tuple[Service, ...] = ()

    def value(self, name: str, service: Service | None = None) -> str:
        """The value of a parameter with everything in it replaced, for one service or for all.

        Raises:
            ConfigError: a `${` is not closed, or a parameter refers to itself.
        """
        raw = self._raw(name, service)
        try:
            return expand(raw, lambda other: self._raw(other, service)).strip()
        except ExpandError as error:
            raise self._error(name, service, error) from None

    def _raw(self, name: str, service: Service | None) -> str:
        if service is not None:
            if name in service.overrides:
                return service.overrides[name].value
            if name == "service_name":
                return service.name
        found = self.parameters.get(name)
        if found is None and name == "mydomain":  # by default what follows the first label of the host
            return self._raw("myhostname", service).partition(".")[2]
        return found.value if found else DEFAULTS.get(name, "")

    def _error(self, name: str, service: Service | None, error: ExpandError) -> ConfigError:
        text = error.value[error.column - 1 :][:20]
        message = f"{name}: {error.message}" + (f": {text!r}" if text else "")
        return ConfigError(message, place=self.place(name, service), hint="Check it with 'postconf -x'.")

    def place(self, name: str, service: Service | None = None) -> Place | None:
        """Where a parameter is set for a service, or for all; None where the built-in value holds."""
        found = (service.overrides.get(name) if service else None) or self.parameters.get(name)
        return found.place if found else None

    def words(self, name: str, service: Service | None = None) -> tuple[str, ...]:
        """The entries of a list parameter, separated by blanks or commas."""
        return tuple(word for word in re.split(r"[\s,]+", self.value(name, service)) if word)

    def yes(self, name: str, service: Service | None = None) -> bool:
        """Whether a parameter says yes."""
        return self.value(name, service).lower() == "yes"

    def syslog_name(self, service: Service | None = None) -> str:
        """What stands before the daemon in the syslog tag: `postfix/submission` in
        `postfix/submission/smtpd`."""
        return self.value("syslog_name", service)

    def tag(self, service: Service) -> str:
        """The syslog tag of a service, such as `postfix/submission/smtpd`."""
        return f"{self.syslog_name(service)}/{service.command}"

    def upstream_proxy_protocol(self, service: Service) -> str:
        """The PROXY header a service expects: `haproxy`, or nothing."""
        name = {
            "postscreen": "postscreen_upstream_proxy_protocol",
            "smtpd": "smtpd_upstream_proxy_protocol",
        }.get(service.command)
        # A service behind postscreen gets its clients from it, and ignores the setting.
        return self.value(name, service) if name and service.type != "pass" else ""

    def client_port_logging(self, service: Service) -> bool:
        """Whether smtpd logs clients as `name[address]:port`."""
        return service.command == "smtpd" and self.yes("smtpd_client_port_logging", service)

    @property
    def listeners(self) -> tuple[Service, ...]:
        """Services that mail clients and load balancers connect to: `inet` services of postscreen and
        smtpd."""
        return tuple(
            service
            for service in self.services
            if service.type == "inet" and service.command in ("postscreen", "smtpd")
        )

    def listener(self, port: int) -> Service | None:
        """The listener on a port, whatever its address; None when there is none."""
        return next((service for service in self.listeners if service.port_number == port), None)

    @property
    def mynetworks(self) -> tuple[IPv4Network | IPv6Network, ...] | None:
        """Trusted networks; None when main.cf leaves them to Postfix. Entries that name files or tables are
        left out."""
        if "mynetworks" not in self.parameters:
            return None
        return tuple(_networks(self.value("mynetworks")))


def read(directory: Path) -> Config:
    """Read main.cf and master.cf of a configuration directory. master.cf may be missing.

    Raises:
        ConfigError: a file cannot be read, or Postfix would refuse it.
    """
    master = directory / "master.cf"
    return read_files(directory / "main.cf", master if master.exists() else None)


def read_files(main: Path, master: Path | None) -> Config:
    """Read a main.cf and, if there is one, a master.cf, whatever they are called.

    Raises:
        ConfigError: a file cannot be read, or Postfix would refuse it.
    """
    return read_texts(
        _content(main),
        _content(master) if master else "",
        main_file=str(main),
        master_file=str(master or "master.cf"),
    )


def read_texts(
    main: str, master: str = "", *, main_file: str = "main.cf", master_file: str = "master.cf"
) -> Config:
    """Read the contents of main.cf and master.cf; the file names are for messages."""
    return Config(read_main(main, main_file), tuple(read_master(master, master_file)))


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError as error:
        hint = "Name the directory that holds main.cf ('postconf -h config_directory' shows it)."
        raise ConfigError(f"cannot be read: {error.strerror}", place=Place(str(path)), hint=hint) from error


# --- main.cf ------------------------------------------------------------------------------------------------


def read_main(text: str, file: str = "main.cf") -> Mapping[str, Parameter]:
    """The parameters of a main.cf, the last of each name.

    Raises:
        ConfigError: a line is no `name = value`.
    """
    return {entry.name: entry for entry in map(_parameter, logical_lines(text, file))}


def _parameter(line: LogicalLine) -> Parameter:
    name, equals, value = line.text.partition("=")
    name = name.rstrip()
    if not equals or not name or re.search(r"\s", name):
        hint = "Write 'name = value'; start the line with a blank if it continues the one before."
        raise ConfigError("this is no 'name = value'", place=line.place(0, len(name) or 1), hint=hint)
    return Parameter(name, value.strip(), line.place(0, len(name)))


# --- master.cf ----------------------------------------------------------------------------------------------

_TYPES = ("inet", "unix", "unix-dgram", "fifo", "pass")
_WORD = re.compile(r"\S+")


def read_master(text: str, file: str = "master.cf") -> Iterator[Service]:
    """The services of a master.cf.

    Raises:
        ConfigError: a line has too few fields, an unknown type, or a broken `-o`.
    """
    services: dict[tuple[str, str], Service] = {}
    for line in logical_lines(text, file):
        service = _service(line)
        services[service.name, service.type] = service
    yield from services.values()


def _service(line: LogicalLine) -> Service:
    words = list(_words(line))
    if len(words) < 8:
        message = f"a service has eight fields or more, this one has {len(words)}"
        hint = (
            "They are: service type private unpriv chroot wakeup maxproc command; '-' stands for a default."
        )
        raise ConfigError(message, place=line.place(0, len(words[0][1])), hint=hint)
    name, type_, private, unprivileged, chroot, wakeup, limit, command = (word for _, word in words[:8])
    if type_ not in _TYPES:
        hint = did_you_mean(type_, _TYPES) or f"Types are {', '.join(_TYPES)}."
        raise ConfigError(
            f"unknown service type {type_!r}", place=line.place(words[1][0], len(type_)), hint=hint
        )
    return Service(
        name=name,
        type=type_,
        private=private,
        unprivileged=unprivileged,
        chroot=chroot,
        wakeup=wakeup,
        process_limit=limit,
        command=command.rpartition("/")[2],
        arguments=tuple(word for _, word in words[8:]),
        overrides=MappingProxyType({entry.name: entry for entry in _overrides(line, words[8:])}),
        place=line.place(0, len(name)),
    )


def _words(line: LogicalLine) -> Iterator[tuple[int, str]]:
    """The words of a line and where they begin. Behind the command, `{ … }` is one word without its
    braces."""
    at = 0
    count = 0
    while found := _WORD.search(line.text, at):
        start, word = found.start(), found.group()
        at = found.end()
        if count >= 8 and word.startswith("{"):
            end = _closing(line, start)
            word = line.text[start + 1 : end].strip()
            at = end + 1
        yield start, word
        count += 1


def _closing(line: LogicalLine, start: int) -> int:
    depth = 0
    for at in range(start, len(line.text)):
        depth += {"{": 1, "}": -1}.get(line.text[at], 0)
        if depth == 0:
            return at
    raise ConfigError("this '{' is not closed", place=line.place(start), hint="Add the '}' it belongs to.")


def _overrides(line: LogicalLine, words: list[tuple[int, str]]) -> Iterator[Parameter]:
    """`-o name=value`, `-o { name = value }`, `-oname=value`."""
    rest = iter(words)
    for start, word in rest:
        if not word.startswith("-o"):
            continue
        at, setting = (start, word[2:]) if len(word) > 2 else next(rest, (start, ""))
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            hint = "Write '-o name=value', or '-o { name = value }' when the value has blanks."
            raise ConfigError("'-o' without name=value", place=line.place(start, len(word)), hint=hint)
        yield Parameter(name.strip(), value.strip(), line.place(at, len(setting)))


# --- networks -----------------------------------------------------------------------------------------------


def _networks(value: str) -> Iterator[IPv4Network | IPv6Network]:
    for entry in re.split(r"[\s,]+", value):
        try:
            yield ip_network(entry.replace("[", "").replace("]", ""), strict=False)
        except ValueError:
            continue  # a table, a file, an exclusion, or nothing at all
