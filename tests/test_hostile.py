"""Input that means harm: no exception escapes, no line is lost, and no line takes more than its length.

A line is somebody else's text, and so is a configuration found on a disk. The quick tests run always; the
long ones (`-m slow`) go on for some thousand mutations more.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logscope.errors import LogscopeError
from logscope.grammar import catalogue
from logscope.grammar.build import build
from logscope.grammar.explain import explain
from logscope.grammar.language import parse
from logscope.grammar.scan import Scanner
from logscope.grammar.source import from_mapping, read_text
from logscope.grammar.suggest import suggest
from logscope.haproxy import config as haproxy
from logscope.haproxy.log_format import as_grammar, translate
from logscope.haproxy.stock_formats import ENVIRONMENT
from logscope.postfix import config as postfix
from logscope.site.learn import combined, mail_server
from logscope.syslog.records import decoded

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
CATALOGUE = catalogue.load()
HEADS = {
    "smtpd": b"Nov 22 09:20:30 mx-a postfix/smtpd[1]: ",
    "reject": b"Nov 22 09:20:30 mx-a postfix/smtpd[1]: NOQUEUE: reject: RCPT from x[192.0.2.1]: 550 5.1.1 <",
    "delivery": b"Nov 22 09:20:30 mx-a postfix/smtp[1]: 9A1B2C3D4E: to=<",
    "reply": (
        b"Nov 22 09:20:30 mx-a postfix/smtp[1]: 9A1B2C3D4E: to=<a@example.org>, relay=none, delay=1, "
        b"delays=1/1/1/1, dsn=2.0.0, status=sent (queued as "
    ),
    "screen": b"Nov 22 09:20:30 mx postfix/postscreen[1]: PREGREET 9 after 0 from [192.0.2.1]:9: PROXY TCP4 ",
    "balancer": b"Nov 22 09:20:30 e1 haproxy[1]: 192.0.2.1:25 [22/Nov/2026:08:41:56.123] a b/c {",
    "structured data": b"<22>1 2026-11-22T09:20:30Z mx-a postfix/smtpd 1 - [",
    "nothing": b"",
}
REPEATED = (b"[", b'"', b"(", b"; from=<", b": ", b"\\", b"> proto=", b"1", b" queued as ")
LENGTH = 1 << 17


@pytest.mark.parametrize("head", HEADS)
def test_a_long_line_takes_no_more_than_its_length(head: str) -> None:
    """With work that grows faster than the line, this would not end."""
    scanner = Scanner(CATALOGUE, compiled=False)
    text = b"".join(HEADS[head] + symbol * (LENGTH // len(symbol)) + b"\n" for symbol in REPEATED)
    rows = scanner.scan_bytes(text)
    assert rows.count == len(REPEATED)


@pytest.mark.parametrize("symbol", ["[", "{", '"', "%[", "%{", "${", "$", "\\", "-o ", "{[", "(", "a=", "\n"])
def test_a_long_configuration_is_read_or_refused(symbol: str) -> None:
    text = symbol * 4000
    readers: tuple[Callable[[], object], ...] = (
        lambda: haproxy.read_texts([("haproxy.cfg", f"listen a\n log-format {text}\n")]).formats,
        lambda: haproxy.read_texts([("haproxy.cfg", f'listen a\n log-format "{text}"\n')]).formats,
        lambda: translate(text),
        lambda: postfix.read_texts(f"a = {text}").value("a"),
        lambda: postfix.read_texts("", f"smtp inet n - n - - smtpd {text}"),
        lambda: parse(text),
        lambda: explain(HEADS["reject"] + text.encode(), CATALOGUE),
        lambda: decoded(b"{" + text.encode(), 1 << 20),
    )
    for reader in readers:
        read_or_refused(reader)


def test_references_that_double_come_to_an_end() -> None:
    doubling = "".join(f"a{number} = $a{number + 1}$a{number + 1}\n" for number in range(60))
    with pytest.raises(LogscopeError, match="more than can be replaced"):
        postfix.read_texts(doubling).value("a0")


def test_no_million_servers() -> None:
    with pytest.raises(LogscopeError, match="too many servers"):
        haproxy.read_texts([("haproxy.cfg", "backend a\n server-template x 1-9999999 192.0.2.1:25\n")])


def read_or_refused(reader: Callable[[], object]) -> None:
    refused = None
    try:
        reader()
    except LogscopeError as error:
        refused = error
    assert refused is None or (str(refused) and refused.explain())


# --- mutations ------------------------------------------------------------------------------------------

LINES = [
    sample.line
    for detail in CATALOGUE.details[:: max(1, len(CATALOGUE.details) // 400)]
    for sample in detail.samples[:1]
]
CONFIGURATIONS = {
    path: path.read_text("utf-8") for path in sorted(SAMPLES.glob("*/*")) if path.suffix in (".cfg", ".cf")
}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with some of them changed, dropped, doubled, or put elsewhere."""
    result = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, to = sorted((chance.randint(0, len(result)), chance.randint(0, len(result))))
        what = chance.randrange(6)
        if what == 0:
            del result[at:to]
        elif what == 1:
            result[at:at] = result[at:to]
        elif what == 2:
            result[at:at] = bytes(
                chance.choices(b' "<>[](){}:;,=/\\%$\0\xff\x80\n\r\t0a', k=chance.randint(1, 8))
            )
        elif what == 3 and at < len(result):
            result[at] = chance.randrange(256)
        elif what == 4:
            result += result[at:to]
        else:
            result[at:to] = bytes(reversed(result[at:to]))
    return bytes(result[: 1 << 14])


def test_data(seed: int, count: int) -> Iterator[tuple[random.Random, bytes]]:
    chance = random.Random(seed)
    heads = [
        HEADS["smtpd"][:-10],
        b"<22>1 2026-11-22T09:20:30Z mx-a ",
        b"2026-11-22T09:20:30Z stdout F ",
        b"",
    ]
    tags = [b"smtpd[1]: ", b"smtp[1]: ", b"haproxy[1]: ", b"cleanup 1 - - ", b""]
    for _ in range(count):
        line = chance.choice(heads) + chance.choice(tags) + chance.choice(LINES).encode()
        yield chance, mutated(line, chance)


test_data.__test__ = False  # type: ignore[attr-defined]


def check_lines(seed: int, count: int) -> None:
    data = [line for _, line in test_data(seed, count)]
    record = json.dumps({"message": data[0].decode("latin-1")}).encode()
    text = b"\n".join([*data, mutated(record, random.Random(seed))]) + b"\n"
    lines, used = decoded(text, 1 << 30)
    assert used == len(text)
    for raw in (text, lines):
        rows = Scanner(CATALOGUE, compiled=False).scan_bytes(raw)
        assert rows.consumed == len(raw)
        assert rows.count == raw.count(b"\n")
        for row in range(rows.count):
            rows.values(row)
            rows.message(row)
    for line in data[: count // 20]:
        first = line.partition(b"\n")[0]
        message = explain(first, CATALOGUE).message
        if not message.strip():
            continue  # there is nothing to draft a template from
        draft = suggest(first.decode("utf-8", "surrogateescape"), "smtpd", CATALOGUE)
        assert parse(draft.text)
        assert read_text(draft.toml, "draft").templates[0].text == draft.text


def check_configurations(seed: int, count: int) -> None:
    chance = random.Random(seed)
    for _ in range(count):
        path, text = chance.choice(list(CONFIGURATIONS.items()))
        bad = mutated(text.encode(), chance).decode("utf-8", "surrogateescape")
        if path.suffix == ".cfg":
            read_or_refused(lambda bad=bad: combined([("", [], haproxy.read_texts([("f", bad)]))], []))  # type: ignore[misc]
        else:
            main, master = ("", bad) if "master" in path.name else (bad, "")
            read_or_refused(
                lambda main=main, master=master: mail_server("", postfix.read_texts(main, master), ())  # type: ignore[misc]
            )


@settings(max_examples=20)
@given(st.integers(0, 1 << 32))
def test_mutated_lines_are_read_and_none_is_lost(seed: int) -> None:
    check_lines(seed, 40)


@given(st.integers(0, 1 << 32))
def test_mutated_configurations_are_read_or_refused(seed: int) -> None:
    check_configurations(seed, 1)


_PIECES = (
    "%ci",
    "%cp",
    "%t",
    "%ft",
    "%b",
    "%s",
    "%Tt",
    "%{+Q}r",
    "%{+E}HU",
    "%[src]",
    "%{+X}Ts",
    "%{+Q}o",
    "%hr",
    "%hrl",
    "%ST",
    "%{+json}o",
    "%(a)ci",
    "%(b:str)Tt",
    "%(c-d){+X}cp",
    "%{+json}[src]",
)
_BETWEEN = (" ", "/", ":", "[", "]", '"', "{", "}", "|", "", " - ", "%%", "\\")


@given(st.lists(st.tuples(st.sampled_from(_PIECES), st.sampled_from(_BETWEEN)), max_size=8))
def test_any_format_is_a_template_or_refused(pieces: list[tuple[str, str]]) -> None:
    log_format = "".join(piece + border for piece, border in pieces)

    def compiled() -> None:
        build([from_mapping(as_grammar([translate(log_format)]), "configured")])

    read_or_refused(compiled)


@given(st.text(st.sampled_from("{}[]()|:@ab \\")))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    read_or_refused(lambda: parse(text))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_many_mutations(seed: int) -> None:
    check_lines(seed, 1000)
    check_configurations(seed, 400)


def test_stock_formats_come_with_every_flag() -> None:
    for name, log_format in ENVIRONMENT.items():
        for flag in ("+Q", "+X", "+E", "-M", "+json", "+cbor"):
            read_or_refused(lambda text=f"%{{{flag}}}o {log_format}": translate(text))  # type: ignore[misc]
        assert translate(log_format).fields, name
