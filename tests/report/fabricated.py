"""Sessions, messages and deliveries made up for tests, with the columns and types that the pipeline hands
over.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logscope import schema
from logscope.report.arrow_schema import arrow_type

START = 1_785_060_000_000_000_000  # 2026-07-26T10:00:00Z, in ns


def batch_of(table: str, rows: list[dict[str, object]]) -> pa.RecordBatch:
    """A batch of one of the tables; columns that a row does not name are null."""
    columns = schema.TABLES[table]
    arrays = [pa.array([row.get(column.name) for row in rows], arrow_type(column.type)) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def with_counts(sessions: pa.RecordBatch) -> pa.RecordBatch:
    """The same sessions with the counts that the joins make for reports: two recipients for each message."""
    recipients = pc.multiply(sessions.column("message_count"), 2)
    rejects = pc.list_value_length(sessions.column("rejects"))
    return sessions.append_column("recipient_count", recipients).append_column("reject_count", rejects)


def session(**known: object) -> dict[str, object]:
    """An ordinary delivered session; name what should differ."""
    accepted = int(known.pop("accepted_ns", START))  # type: ignore[call-overload]
    row: dict[str, object] = {
        "session_id": "5f1c6f0b7d6a4e21",
        "client_address": "203.0.113.9",
        "client_port": 41282,
        "client_known_from": "balancer",
        "peer_address": "203.0.113.9",
        "peer_port": 41282,
        "destination_logged": "192.0.2.25:25",
        "masked": False,
        "balancer": "edge1",
        "balancers": ["edge1"],
        "frontend": "ft_smtp",
        "backend": "bk_postfix",
        "server": "mx-a",
        "mta_host": "mx-a",
        "service": "postfix/postscreen",
        "accepted_at": accepted,
        "mta_connected_at": accepted + 1_000_000_000,
        "ended_at": accepted + 2_235_000_000,
        "queue_ms": 1,
        "connect_ms": 0,
        "duration_ms": 2235,
        "bytes_to_client": 378,
        "retries": 0,
        "termination_state": "--",
        "screen": "pass_old",
        "screen_tests": [],
        "helo": "mail.example.net",
        "commands": [
            ("ehlo", [1, 1]),
            ("mail", [1, 1]),
            ("rcpt", [1, 1]),
            ("data", [1, 1]),
            ("quit", [1, 1]),
        ],
        "rejects": [],
        "queue_ids": ["296AA22A94C"],
        "message_count": 1,
        "outcome": "delivered",
        "hops": ["balancer", "screen", "smtpd", "queue", "delivery"],
        "links": [
            {
                "from": "balancer",
                "to": "screen",
                "method": "address_port",
                "confidence": "exact",
                "probability": 1.0,
            }
        ],
        "join_confidence": "exact",
        "events": [{"source": "haproxy.log", "line_number": 12}, {"source": "mail.log", "line_number": 40}],
    }
    return row | known


def many_sessions(count: int, clients: int = 50_000, seed: int = 1) -> pa.RecordBatch:
    """A large batch, made of columns: mostly ordinary sessions of `clients` addresses, with the usual share
    of others.
    """
    random = np.random.default_rng(seed)
    client = random.integers(0, clients, count)
    numbers = np.arange(count)
    accepted = START + numbers * 3_600_000 + random.integers(0, 10**6, count) * 1000
    duration = random.integers(40, 30_000, count)
    server = np.where(random.random(count) < 0.5, "mx-a", "mx-b")
    outcome = random.choice(
        ["delivered", "rejected", "screened", "deferred", "no_mail", "probe", "aborted"],
        count,
        p=[0.55, 0.15, 0.1, 0.05, 0.05, 0.05, 0.05],
    )
    delivered = outcome == "delivered"
    rejected = outcome == "rejected"
    address = pa.array(
        [f"{10 + i // 65536 % 200}.{i // 256 % 256}.{i % 256}.7" for i in range(clients)]
    ).take(pa.array(client))
    lines = 8
    events = pa.ListArray.from_arrays(
        pa.array(np.arange(count + 1, dtype=np.int32) * lines),
        pa.StructArray.from_arrays(
            [
                pa.array(np.where(np.arange(count * lines) % lines == 0, "haproxy.log", "mail.log")),
                pa.array(np.arange(count * lines)),
            ],
            ["source", "line_number"],
        ),
    )
    link = pa.array(
        [
            {"from": a, "to": b, "method": m, "confidence": "exact", "probability": 1.0}
            for a, b, m in (
                ("balancer", "screen", "address_port"),
                ("screen", "smtpd", "address_port"),
                ("smtpd", "queue", "queue_id"),
            )
        ],
        arrow_type("{from: text, to: text, method: text, confidence: text, probability: float}"),
    )
    links = pa.ListArray.from_arrays(
        pa.array(np.arange(count + 1, dtype=np.int32) * 3), link.take(pa.array(np.arange(count * 3) % 3))
    )
    reject = pa.array(
        [
            {
                "stage": "RCPT",
                "code": 550,
                "dsn": "5.1.1",
                "text": "<nobody@example.com>: Recipient address rejected: User unknown in local table",
                "sender": "a@example.net",
                "recipient": "nobody@example.com",
            }
        ],
        arrow_type("{stage: text, code: int, dsn: text, text: text, sender: text, recipient: text}"),
    )
    rejects = _lists(rejected.astype(np.int32), reject)
    hops = pa.array(["balancer", "screen", "smtpd", "queue", "delivery"])
    commands = pa.MapArray.from_arrays(
        pa.array(np.arange(count + 1, dtype=np.int32) * 5),
        pa.array(["ehlo", "mail", "rcpt", "data", "quit"]).take(pa.array(np.arange(count * 5) % 5)),
        pa.ListArray.from_arrays(
            pa.array(np.arange(count * 5 + 1, dtype=np.int32) * 2),
            pa.array(np.ones(count * 10, dtype=np.int64)),
        ),
    )
    time = pa.timestamp("ns", "UTC")
    known = {
        "session_id": pa.array([f"{i * 0x9E3779B97F4A7C15 & (1 << 64) - 1:016x}" for i in range(count)]),
        "client_address": address,
        "client_port": pa.array(random.integers(1024, 65536, count)),
        "client_known_from": _constant("balancer", count),
        "client_name": _constant("mail.example.net", count),
        "peer_address": address,
        "peer_port": pa.array(random.integers(1024, 65536, count)),
        "destination_logged": _constant("192.0.2.25:25", count),
        "masked": pa.array(np.zeros(count, dtype=bool)),
        "balancer": _constant("edge1", count),
        "balancers": _lists(np.ones(count, dtype=np.int32), pa.array(["edge1"])),
        "frontend": _constant("ft_smtp", count),
        "backend": _constant("bk_postfix", count),
        "server": pa.array(server),
        "mta_host": pa.array(server),
        "service": _constant("postfix/smtpd", count),
        "accepted_at": pa.array(accepted).cast(time),
        "mta_connected_at": pa.array(accepted // 10**9 * 10**9).cast(time),
        "ended_at": pa.array(accepted + duration * 10**6).cast(time),
        "queue_ms": pa.array(np.ones(count, dtype=np.int64)),
        "connect_ms": pa.array(np.zeros(count, dtype=np.int64)),
        "duration_ms": pa.array(duration),
        "bytes_to_client": pa.array(random.integers(200, 5000, count)),
        "retries": pa.array(np.zeros(count, dtype=np.int64)),
        "termination_state": _constant("--", count),
        "screen": _constant("pass_old", count),
        "screen_tests": _lists((outcome == "screened").astype(np.int32), pa.array(["pregreet"])),
        "helo": pa.array([f"mail{i % 100}.example.net" for i in client]),
        "tls_protocol": _constant("TLSv1.3", count),
        "tls_cipher": _constant("TLS_AES_256_GCM_SHA384", count),
        "commands": commands,
        "rejects": rejects,
        "queue_ids": _lists(delivered.astype(np.int32), pa.array(["4F1A2B3C4D"])),
        "message_count": pa.array(delivered.astype(np.int64)),
        "outcome": pa.array(outcome),
        "hops": _lists(np.full(count, 5, dtype=np.int32), hops),
        "links": links,
        "join_confidence": _constant("exact", count),
        "events": events,
    }
    columns = schema.SESSIONS
    arrays = [
        known.get(c.name, pa.nulls(count, arrow_type(c.type))).cast(arrow_type(c.type)) for c in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=[c.name for c in columns])


def _constant(text: str, count: int) -> pa.Array:
    return pa.array([text]).take(pa.array(np.zeros(count, dtype=np.int64)))


def _lists(lengths: np.ndarray, items: pa.Array) -> pa.Array:
    """Lists of the given lengths, filled with the items in turn."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), items.take(pa.array(np.arange(offsets[-1]) % len(items)))
    )
