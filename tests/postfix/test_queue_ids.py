"""The microseconds in queue ids, short and long."""

from __future__ import annotations

import numpy as np
import pytest

from logscope import engine
from logscope.postfix.queue_ids import UNKNOWN, microseconds

DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"


def in_base_52(number: int, width: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 52)
        digits = DIGITS[digit] + digits
    return digits.rjust(width, "0")


def told(queue_id: str, *, compiled: bool = False) -> int:
    run = engine.compiled(microseconds) if compiled else microseconds
    data = np.frombuffer(b"--" + queue_id.encode() + b"zz", np.uint8)
    return int(run(data, 2, len(queue_id)))


@pytest.mark.parametrize(
    ("queue_id", "expected"),
    [
        ("41A182626BA", 0x41A18),
        ("0000A1", 10),
        ("F423F2626BA", 999_999),
        ("F42402626BA", UNKNOWN),  # a million
        ("41A18", UNKNOWN),  # no inode
        ("41A1g2626BA", UNKNOWN),
        ("3Pt2mN2VXxznjll", 353_025),
        ("4Q3vB40M3gzB", 51_567),
        ("4Q3vB40A3gzB", UNKNOWN),  # a vowel
        ("NOQUEUE", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_known_ids(queue_id: str, expected: int) -> None:
    assert told(queue_id) == expected


@pytest.mark.parametrize("number", [0, 1, 51, 52, 2703, 140_607, 500_000, 999_999])
def test_every_digit_counts(number: int) -> None:
    seconds = in_base_52(1_795_374_240, 6)
    assert told(f"{seconds}{in_base_52(number, 4)}z4Bk") == number
    assert told(f"{number:05X}2626BA") == number


def test_machine_code_agrees() -> None:
    for queue_id in ("41A182626BA", "3Pt2mN2VXxznjll", "4Q3vB40A3gzB", "zzzz"):
        assert told(queue_id, compiled=True) == told(queue_id)
