"""The relay beside the real daemons: in front of Postfix, behind HAProxy, and in the place of both.

The same clients go through all four set-ups; the story of each connection must be the one that the real
pair tells, apart from what `differences.toml` lists.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import pytest

from logscope.grammar import catalogue

from .capture import capture
from .daemons import Lab
from .differential import Story, differences, known, stories
from .prerequisites import missing

pytest.importorskip("cryptography")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason="; ".join(missing())),
]
LABS: dict[str, Callable[..., Lab]] = {"real": Lab}
if not missing():
    from .relayed import RelayLab

    LABS |= {
        "relay": RelayLab,
        "relay before Postfix": partial(RelayLab, servers=False),
        "HAProxy before relay": partial(RelayLab, balancer=False),
    }
#: Scenario and lab, and how many connections.
RUNS = {
    ("proxied-v1", "real"): 60,
    ("proxied-v1", "relay"): 60,
    ("proxied-v1", "relay before Postfix"): 60,
    ("proxied-v1", "HAProxy before relay"): 60,
    ("proxied-v2", "real"): 30,
    ("proxied-v2", "relay before Postfix"): 30,
    ("proxied-v2", "HAProxy before relay"): 30,
    ("missing", "real"): 16,
    ("missing", "relay"): 16,
    ("unexpected-v2", "real"): 16,
    ("unexpected-v2", "relay"): 16,
    ("deep-tests", "real"): 40,
    ("deep-tests", "relay"): 40,
}

_AT_ONCE = 6


def run(name: str, lab: str, home: Path) -> dict[str, Story]:
    """Send the clients of a scenario through a lab."""
    directory = home / name / lab.replace(" ", "-")
    found = capture(
        name,
        directory,
        sessions=RUNS[name, lab],
        concurrency=RUNS[name, lab],
        address_pool=3000,
        seed=5,
        limit_s=120,
        make_lab=LABS[lab],
    )["found"]
    assert found["connections"] >= RUNS[name, lab]
    assert found["queue id not in the lines"] == 0
    # Who comes again meets the server that knows it or the other one, as the order of all others has it.
    return {id_: story for id_, story in stories(directory).items() if not id_.endswith("-r")}


@pytest.fixture(scope="module")
def story_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], dict[str, Story]]]:
    """Gives the stories of a run, once it is done. Several go on at the same time: they mostly wait."""
    home = tmp_path_factory.mktemp("relayed")
    catalogue.load()  # compiled once, not by every process at the same time
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = {(name, lab): pool.submit(run, name, lab, home) for name, lab in RUNS}

        @cache
        def told(name: str, lab: str) -> dict[str, Story]:
            return running[name, lab].result(timeout=300)

        yield told
        for future in running.values():
            future.cancel()


@pytest.mark.parametrize(("name", "lab"), [run for run in RUNS if run[1] != "real"])
def test_the_story_is_the_same(
    story_of: Callable[[str, str], dict[str, Story]], name: str, lab: str, tmp_path: Path
) -> None:
    """Where a busy machine made a story of either another one, the next runs tell whether it was that."""
    real, relayed = [story_of(name, "real")], [story_of(name, lab)]
    found, _ = differences(real, relayed, known(name))
    if found:
        real.append(run(name, "real", tmp_path))
        relayed.append(run(name, lab, tmp_path))
        found, _ = differences(real, relayed, known(name))
    assert found == {}


def test_a_deep_test_is_failed(story_of: Callable[[str, str], dict[str, Story]]) -> None:
    """Or else that these stories agree would say little."""
    told = {line[0] for story in story_of("deep-tests", "real").values() for line in story.lines}
    failed = {f"postscreen.{test}" for test in ("command_pipelining", "non_smtp_command", "bare_newline")}
    assert failed | {"postscreen.pass_new", "postscreen.reject"} <= told


def test_the_comparison_sees_what_is_different(story_of: Callable[[str, str], dict[str, Story]]) -> None:
    """A story without its first line, one with another value, and one that is missing are noticed."""
    real = story_of("proxied-v1", "real")
    first, second, third, *_ = real
    line = real[second].lines[0]
    changed = dict(real)
    changed[first] = Story(real[first].behaviour, real[first].lines[1:])
    fields = tuple((name, "x" if name == "frontend" else value) for name, value in line[1])
    changed[second] = Story(real[second].behaviour, [(line[0], fields), *real[second].lines[1:]])
    del changed[third]
    found, _ = differences([real], [changed], known())
    again, _ = differences([real], [changed, changed], known())
    assert again == found
    assert sum(found.values()) == 3
    assert any("haproxy.tcp_session.frontend: 'ft_smtp' is 'x'" in what for what in found)


def test_known_differences_are_few() -> None:
    assert len(known()) <= 8
    assert all(len(json.dumps(entry.why)) > 20 for entry in known())
