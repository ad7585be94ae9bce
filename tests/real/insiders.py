"""Who connects to the mail servers without the balancer: `python -m tests.real.insiders KIND HOST,HOST PORT
EVERY_S`, in the namespace of the services, until it is ended."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import smtplib
import socket
import threading
import time
from collections.abc import Callable

LIMIT_S = 8.0


def application(host: str, port: int, number: int) -> None:
    """An application server that brings a mail."""
    with smtplib.SMTP(host, port, "app1.example.com", LIMIT_S) as smtp:
        smtp.sendmail(
            "reports@mail.example", [f"user{number % 60 + 1}@example.com"], "Subject: report\r\n\r\nhello\r\n"
        )


def monitor(host: str, port: int, number: int) -> None:
    """A monitoring host that reads the greeting and leaves, every other time with QUIT."""
    with socket.create_connection((host, port), LIMIT_S) as connection:
        connection.recv(1000)
        if number % 2:
            connection.sendall(b"QUIT\r\n")
            connection.recv(1000)


def silent(host: str, port: int, _: int) -> None:
    """Somebody who connects, says nothing, and leaves."""
    with socket.create_connection((host, port), LIMIT_S):
        time.sleep(0.2)


def forger(host: str, port: int, number: int) -> None:
    """Somebody who sends a header of his own, and then tries to relay."""
    lines = f"PROXY TCP4 127.0.0.1 203.0.113.25 {2000 + number} 25", "EHLO forger.example"
    envelope = "MAIL FROM:<spam@mail.example>", f"RCPT TO:<victim{number}@elsewhere.example>"
    with socket.create_connection((host, port), LIMIT_S) as connection:
        connection.sendall(f"{lines[0]}\r\n".encode())
        connection.recv(1000)
        for line in (lines[1], *envelope, "DATA", "Subject: buy\r\n\r\nnow\r\n.", "QUIT"):
            connection.sendall(f"{line}\r\n".encode())
            connection.recv(1000)


KINDS: dict[str, Callable[[str, int, int], None]] = {
    one.__name__: one for one in (application, monitor, silent, forger)
}


def _go_on(kind: str, host: str, port: int, every_s: float) -> None:
    for number in itertools.count():
        began = time.monotonic()
        with contextlib.suppress(OSError, smtplib.SMTPException):
            KINDS[kind](host, port, number)
        time.sleep(max(0.0, began + every_s - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("hosts")
    parser.add_argument("port", type=int)
    parser.add_argument("every_s", type=float)
    given = parser.parse_args()
    going = [
        threading.Thread(target=_go_on, args=(given.kind, host, given.port, given.every_s), daemon=True)
        for host in given.hosts.split(",")
    ]
    for one in going:
        one.start()
    for one in going:
        one.join()


if __name__ == "__main__":
    main()
