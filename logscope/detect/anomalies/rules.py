"""By which rules each sort of series is tested, and how sure a finding must be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log

from logscope.detect.anomalies.cusum import Test
from logscope.detect.anomalies.panels import Rules


@dataclass(frozen=True)
class Sensitivity:
    """How sure a finding must be.

    Attributes:
        level: 1 is the default; 2 asks for half the evidence, 0.5 for twice as much.
    """

    level: float = 1.0

    def threshold(self, series: int) -> float:
        """Of the evidence, for so many series: about one false alarm in ten weeks of all of them together, if
        chance is all there is.
        """
        return (15.0 + log(max(series, 1))) / self.level


_FOR_EVER = 1 << 31
UP2, UP4 = Test(2.0), Test(4.0)
HALF, NEARLY_NONE = Test(0.5), Test(0.08)


def volume_rules(series: int, sensitivity: Sensitivity) -> Rules:
    return Rules((UP2, UP4, HALF, NEARLY_NONE), False, sensitivity.threshold(series))


def attack_rules(series: int, sensitivity: Sensitivity) -> Rules:
    return Rules((Test(2.5), Test(8.0)), False, sensitivity.threshold(series), least_scale=1.3, leak=0.1)


def share_rules(series: int, sensitivity: Sensitivity) -> Rules:
    tests = (Test(1.8, 0.03), Test(5.0, 0.02), Test(0.35, 0.02))
    return Rules(
        tests,
        True,
        sensitivity.threshold(series),
        known=2000,
        half_life=(30, 480),
        least_scale=1.2,
        leak=0.03,
    )


def destination_rules(series: int, sensitivity: Sensitivity) -> Rules:
    """Few deliveries go to one destination: when it takes none of them, a handful must do."""
    shares = share_rules(series, sensitivity)
    return replace(shares, tests=(*shares.tests, Test(60.0, 0.3, 0.2)), least_scale=1.0, sparse=True)


def drift_rules(series: int, sensitivity: Sensitivity) -> Rules:
    """Of volumes whose day is known: what grows by and by, and a short memory would follow."""
    return Rules((Test(1.6),), False, sensitivity.threshold(series), half_life=(240, 240), least_scale=1.5)


def hop_rules(series: int, sensitivity: Sensitivity) -> Rules:
    tests = (Test(1.8, 0.015), Test(6.0, 0.1))
    return Rules(tests, True, sensitivity.threshold(series), known=4000, half_life=(30, 720), leak=0.03)


def masked_rules(series: int, sensitivity: Sensitivity) -> Rules:
    """Of hidden clients, which are never usual: they do not become so by lasting."""
    return replace(hop_rules(series, sensitivity), longest_hold=_FOR_EVER)


def companion_rules(series: int, sensitivity: Sensitivity) -> Rules:
    tests = (Test(1.6), Test(0.6))
    return Rules(tests, False, sensitivity.threshold(series), half_life=(45, 480), known=600)


def peer_rules(series: int, sensitivity: Sensitivity) -> Rules:
    """The last test is for what happens at one server alone, a few times are enough then."""
    tests = (Test(1.5), Test(4.0), Test(20.0), Test(60.0, rest=0.1))
    return Rules(tests, True, sensitivity.threshold(series), known=2000, half_life=(60, 720), leak=0.1)


def part_rules(series: int, sensitivity: Sensitivity) -> Rules:
    tests = (Test(2.0), Test(0.4), Test(0.05))
    return Rules(tests, True, sensitivity.threshold(series), known=2000, half_life=(30, 480), least_scale=1.0)


def latency_rules(series: int, sensitivity: Sensitivity) -> Rules:
    tests = (Test(3.0, 0.1),)
    return Rules(
        tests,
        True,
        sensitivity.threshold(series),
        known=1000,
        half_life=(30, 480),
        least_scale=1.3,
        leak=0.03,
    )
