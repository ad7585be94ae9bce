"""Settings are proposed where the logs show that they are missing, with what they would gain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from logscope.cli.main import main
from logscope.readiness import Advice, Measured, advice
from logscope.site import Site
from logscope.site.learn import learn

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
LINK = pa.struct({name: pa.string() for name in ("from", "to", "method", "confidence")})


def session(
    host: str | None, hops: str, *links: str, masked: bool = False, tag: str = "", port: int | None = 41522
) -> dict[str, Any]:
    names = ("from", "to", "method", "confidence")
    found = [dict(zip(names, link.split(), strict=True)) for link in links]
    return {
        "mta_host": host, "masked": masked, "hops": hops.split(), "links": found, "service": tag or None,
        "outcome": "delivered", "peer_port": port,
    }  # fmt: skip


def advised(*sessions: dict[str, Any], site: Site | None = None, source_ports: int = 0) -> dict[str, Advice]:
    found = Measured()
    found.source_ports = source_ports
    schema = pa.schema(
        {
            "mta_host": pa.string(), "masked": pa.bool_(), "hops": pa.list_(pa.string()),
            "links": pa.list_(LINK), "service": pa.string(), "outcome": pa.string(), "peer_port": pa.int64(),
        }
    )  # fmt: skip
    found.sessions("sessions", pa.RecordBatch.from_pylist(list(sessions), schema=schema))
    found.connects = found.without_port = 10
    return {one.setting: one for one in advice(found, site or learn())}


def test_ports_gain_the_links_to_smtpd_that_are_not_exact() -> None:
    one = advised(
        session("mx-a", "screen smtpd", "screen smtpd timing probable"),
        session("mx-a", "screen smtpd", "screen smtpd order exact"),
        session("mx-a", "smtpd queue", "smtpd queue queue_id exact"),
    )["smtpd_client_port_logging"]
    assert (one.gain, one.of) == (1, 2)
    assert one.lines == ("smtpd_client_port_logging = yes",)


def test_masked_sessions_want_the_balancers_own_port() -> None:
    masked = session("mx-a", "screen", masked=True)
    one = advised(masked, masked, session(None, "balancer"))["%bi:%bp in HAProxy's log-format"]
    assert (one.gain, one.of) == (1, 2)  # only one of them can be the balancer's session
    assert one.lines[0].endswith('%sq/%bq %bi:%bp"')
    assert not advised(session("mx-a", "screen"))["%bi:%bp in HAProxy's log-format"].missing


def test_masked_sessions_without_a_port_want_that_of_smtpd() -> None:
    """`%bi:%bp` has nothing to be compared with there; where it is logged already, it is not proposed."""
    sessions = (
        session("mx-a", "smtpd", masked=True, port=None), session("mx-a", "screen", masked=True),
        session(None, "balancer"), session(None, "balancer"),
    )  # fmt: skip
    both = advised(*sessions)
    assert both["%bi:%bp in HAProxy's log-format"].gain == 1
    assert "1 of them have no port at smtpd" in both["%bi:%bp in HAProxy's log-format"].note
    assert both["smtpd_client_port_logging"].gain == 0  # of itself
    logged = advised(*sessions, source_ports=2)
    assert not logged["%bi:%bp in HAProxy's log-format"].missing
    assert logged["smtpd_client_port_logging"].gain == 1


def test_sessions_that_the_balancer_never_logged(tmp_path: Path) -> None:
    seen = session("mx-a", "balancer screen", "balancer screen address_port exact")
    unseen = session("mx-a", "screen")
    assert advised(seen, unseen)["no option dontlognull"].gain == 1
    assert not advised(seen)["no option dontlognull"].missing
    assert not advised(unseen)["no option dontlognull"].gain  # there is no balancer at all
    cfg = tmp_path / "haproxy.cfg"
    cfg.write_text("frontend ft\n mode tcp\n bind :25\n log global\n option tcplog\n option dontlognull\n")
    one = advised(seen, unseen, site=learn([str(cfg)]))["no option dontlognull"]
    assert one.where.startswith(f"{cfg}:6")


def test_a_tag_of_two_kinds_of_smtpd_wants_names() -> None:
    weak = "screen smtpd timing probable"
    one = advised(
        session("mx-a", "screen smtpd", weak, tag="postfix/smtpd"),
        session("mx-a", "smtpd", tag="postfix/smtpd"),
    )["syslog_name for each service"]
    assert "postfix/smtpd" in one.missing
    assert one.gain == 1


def test_samples(capfd: pytest.CaptureFixture[str]) -> None:
    """Masked: everything is to be gained. With the header: all is exact, so nothing is."""
    assert main(["readiness", *_files("masked"), "-o", "json", "-q"]) == 1
    document = json.loads(capfd.readouterr().out)
    gains = {one["setting"]: one["gain"] for one in document["settings"]}
    assert gains["%bi:%bp in HAProxy's log-format"] == 120
    assert main(["sessions", *_files("masked"), "-o", "jsonl", "-q"]) == 0
    rows = map(json.loads, capfd.readouterr().out.splitlines())
    weak = [link for row in rows for link in row["links"] if link["confidence"] != "exact"]
    assert gains["smtpd_client_port_logging"] == sum(link["to"] == "smtpd" for link in weak) > 0
    assert document["links"] - document["exact"] == len(weak)
    assert main(["readiness", *_files("proxy-v1"), "-q"]) == 0
    assert "352 of 352 links between hops are exact" in capfd.readouterr().out


def _files(sample: str) -> list[str]:
    return [str(SAMPLES / sample / name) for name in ("haproxy.log", "mail.log")]
