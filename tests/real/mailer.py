"""Mail without a pause: `python -m tests.real.mailer OUT STOP PORT …`, in the clients' namespace.

Until the file STOP is there, four clients bring a message for a local user through one of the ports, and
now and then one for a domain that is not ours, which must be refused. Each attempt is a line of JSON in
OUT.
"""

from __future__ import annotations

import itertools
import json
import random
import smtplib
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from .network import PUBLIC

CLIENTS = 4
PAUSE_S = 0.3
RELAYS = 6  # every so many attempts
LONGEST_S = 120


def attempt(number: int, port: int, rng: random.Random) -> dict[str, Any]:
    """One session; `said` is what was refused, or what broke."""
    relay = number % RELAYS == RELAYS - 1
    recipient = f"victim-{number}@elsewhere.example" if relay else f"user{rng.randint(1, 60)}@example.com"
    source = f"192.0.2.{rng.randint(1, 190)}"
    record: dict[str, Any] = {"port": port, "relay": relay, "client": source, "ok": False}
    try:
        with smtplib.SMTP(PUBLIC, port, "mx.mail.example", 20, (source, 0)) as session:
            session.sendmail("news@mail.example", [recipient], f"Message-ID: <{number}@mail.example>\n\nx\n")
        record["ok"] = True
    except smtplib.SMTPRecipientsRefused as refused:
        record["said"] = str(next(iter(refused.recipients.values())))
    except (smtplib.SMTPException, OSError) as problem:
        record["said"] = f"{type(problem).__name__}: {problem}"
    return record


def client(seed: int, ports: list[int], stop: Path, out: IO[str], lock: threading.Lock) -> None:
    """Attempts one after the other."""
    rng = random.Random(seed)
    began = time.monotonic()
    for number in itertools.count(seed * 100_000):
        if stop.exists() or time.monotonic() - began > LONGEST_S:
            return
        record = attempt(number, rng.choice(ports), rng)
        with lock:
            print(json.dumps(record), file=out, flush=True)
        time.sleep(PAUSE_S)


def main() -> None:
    out, stop, *ports = sys.argv[1:]
    lock = threading.Lock()
    with Path(out).open("w", encoding="utf-8") as stream:
        threads = [
            threading.Thread(target=client, args=(seed, list(map(int, ports)), Path(stop), stream, lock))
            for seed in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
