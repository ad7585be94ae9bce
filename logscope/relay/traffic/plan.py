"""Who comes, from where, when, and to do what: profiles, and the people they make. The same seed, the same
people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from logscope.relay.header import Endpoint
from logscope.relay.traffic.behaviours import BEHAVIOURS

MAIL = {
    "clean": 40,
    "several": 8,
    "many_recipients": 5,
    "pipelined": 5,
    "encrypted": 10,
    "slow": 4,
    "look_in": 3,
}
MISTAKES = {"unknown_recipient": 6, "unknown_sender": 2, "forbidden_content": 2}
BOTS = {
    "early": 6,
    "all_at_once": 3,
    "http": 1,
    "rubbish": 1,
    "port_scan": 2,
    "relaying": 5,
    "bad_helo": 3,
    "guessing": 4,
}
LEAVING = {name: 2 for name in BEHAVIOURS if name.startswith(("closed_", "reset_"))}


@dataclass(frozen=True)
class Profile:
    """A kind of traffic.

    Attributes:
        mix: how often each behaviour occurs.
        per_second: connections, on average.
        seconds: how long it lasts unless told otherwise.
        clients: how many addresses well-behaved clients have; a few of them make most connections.
        ipv6_share: of the connections.
    """

    what: str
    mix: Mapping[str, int]
    per_second: float
    seconds: float = 30.0
    clients: int = 60
    ipv6_share: float = 0.05


PROFILES: dict[str, Profile] = {
    "everyday": Profile("mail, mistakes, bots and broken connections", MAIL | MISTAKES | BOTS | LEAVING, 5),
    "clean": Profile("nothing but mail", MAIL, 5),
    "bots": Profile("clients that speak too early, guess passwords, try to relay", BOTS | {"clean": 5}, 8),
    "slow": Profile("clients that take their time, or drip bytes", {"slow": 3, "drip": 2, "clean": 1}, 4),
    "broken": Profile("connections closed and reset at every stage", LEAVING | {"clean": 10}, 5),
    "guessing": Profile("a campaign of password guessing among mail", MAIL | {"guessing": 80}, 8),
    "rush": Profile("as many connections as there can be", {"clean": 9, "pipelined": 1}, 200, clients=500),
}


@dataclass(frozen=True)
class Target:
    """Where clients connect.

    Attributes:
        name: of the frontend, or of the mail server.
        address: of the listener.
        header: it takes a PROXY header, so that clients can have any address.
        share: of the connections.
    """

    name: str
    address: Endpoint
    header: bool
    share: float = 1.0


@dataclass(frozen=True)
class Person:
    """One connection, decided beforehand.

    Attributes:
        at_s: when it comes, seconds after the beginning.
        client: address and port; used as they are where the target takes a header.
        public: what it connects to, as far as the header says.
    """

    id: str
    at_s: float
    behaviour: str
    target: Target
    client: Endpoint
    public: Endpoint
    helo: str
    sender: str
    seed: int


def people(profile: Profile, targets: Sequence[Target], seed: int, seconds: float) -> Iterator[Person]:
    """Everybody who comes within some seconds, in order."""
    rng = Random(seed)
    names, weights = list(profile.mix), list(profile.mix.values())
    shares = [target.share for target in targets]
    used: set[Endpoint] = set()
    at_s = 0.0
    for number in range(int(profile.per_second * seconds * 10) + 100):
        at_s += rng.expovariate(profile.per_second)
        if at_s >= seconds:
            return
        behaviour = rng.choices(names, weights)[0]
        target = rng.choices(list(targets), shares)[0]
        client = _client(profile, behaviour, rng)
        while client in used:
            client = Endpoint(client.address, rng.randint(1024, 65535))
        used.add(client)
        if len(used) > 20_000:
            used.clear()
        id_ = f"c{number:06d}"
        yield Person(
            id=id_,
            at_s=at_s,
            behaviour=behaviour,
            target=target,
            client=client,
            public=_public(client, list(targets).index(target)),
            helo=f"{rng.choice(('mx', 'mail', 'out'))}-{id_}.mail.example",
            sender=f"{rng.choice(('news', 'alice', 'billing', 'bob'))}-{id_}@sender.example",
            seed=rng.getrandbits(32),
        )


def _client(profile: Profile, behaviour: str, rng: Random) -> Endpoint:
    """An address that suits the behaviour: bots have many, others few that come again."""
    port = rng.randint(1024, 65535)
    if BEHAVIOURS[behaviour].is_bot:
        if rng.random() < profile.ipv6_share:
            return Endpoint(f"2001:db8:bad::{rng.randint(1, 0xFFFF):x}", port)
        return Endpoint(f"198.51.100.{rng.randint(1, 254)}", port)
    if rng.random() < profile.ipv6_share:
        return Endpoint(f"2001:db8:c:{rng.randint(1, 9)}::{rng.randint(1, 40):x}", port)
    # Few make most: the square of a uniform number is small more often than not.
    return Endpoint(f"192.0.2.{10 + int(rng.random() ** 2 * min(profile.clients, 240))}", port)


def _public(client: Endpoint, target: int) -> Endpoint:
    return Endpoint(f"2001:db8:25::{25 + target}" if client.is_ipv6 else f"203.0.113.{25 + target}", 25)
