"""Tiers: which real part a test needs, whether this machine has it, and the table of what ran.

With CI=true a tier that cannot run is a failure, so that a green run means every tier ran.
"""

import os
from collections import Counter
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.lab import capabilities

if TYPE_CHECKING:
    from tests.lab.elasticsearch import Cluster

TIERS = ("unit", "live", "elasticsearch", "guest")
_counts: pytest.StashKey[Counter[tuple[str, str]]] = pytest.StashKey()
_reasons: pytest.StashKey[dict[str, str]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Ask once what this machine can do, and settle how properties are tried.

    No deadline: how fast an example runs says something about the machine, not about the claim. In CI the examples are
    the same in every run, so that a change is judged by itself; elsewhere each run tries new ones.
    """
    settings.register_profile("doorwatch", deadline=None, derandomize=os.environ.get("CI") == "true")
    settings.load_profile("doorwatch")
    config.stash[_counts] = Counter()
    config.stash[_reasons] = {
        "live": capabilities.live_obstacle(),
        "elasticsearch": capabilities.elasticsearch_obstacle(),
        "guest": capabilities.guest_obstacle(),
    }


def _tier(item: pytest.Item) -> str:
    return next((tier for tier in TIERS[1:] if item.get_closest_marker(tier)), "unit")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose real part is missing; in CI, fail it."""
    obstacle = item.config.stash[_reasons].get(_tier(item), "")
    if obstacle:
        if os.environ.get("CI") == "true":
            pytest.fail(f"tier {_tier(item)} cannot run here and CI=true: {obstacle}", pytrace=False)
        pytest.skip(obstacle)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count outcomes by tier; a test that skips itself fails in CI too."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI=true: {report.longrepr}"
    if report.when == "call" or report.outcome != "passed":
        item.config.stash[_counts][_tier(item), report.outcome] += 1
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of tiers."""
    counts = config.stash[_counts]
    terminalreporter.section("tiers")
    for tier in TIERS:
        passed, failed, skipped = (counts[tier, outcome] for outcome in ("passed", "failed", "skipped"))
        reason = config.stash[_reasons].get(tier, "")
        if reason:
            state = f"skipped: {reason}"
        elif passed + failed == 0:
            state = "not selected"
        else:
            state = "ran"
        terminalreporter.write_line(f"{tier:<14} {passed:>5} passed {failed:>4} failed {skipped:>4} skipped   {state}")


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator["Cluster"]:
    """One node of Elastic's server, for all tests of a session; users, roles and addresses are the cluster's."""
    from tests.lab.elasticsearch import running  # noqa: PLC0415 - loads the client, which the other tiers do without

    with running() as cluster:
        yield cluster
