"""Guests that the tests of a session share; import the fixture you need."""

import contextlib

import pytest

from tests.lab.guest.accelerator import accelerator
from tests.lab.guest.image import RELEASES, image
from tests.lab.guest.qemu import Guest

_SHARED: pytest.StashKey[dict[str, Guest]] = pytest.StashKey()


def _shared(release: str, config: pytest.Config) -> Guest:
    guests = config.stash.setdefault(_SHARED, {})
    if release not in guests:
        booted = image(release)
        stack = contextlib.ExitStack()
        config.add_cleanup(stack.close)
        guests[release] = stack.enter_context(Guest(booted, accelerated_by=accelerator(booted)))
    return guests[release]


@pytest.fixture(scope="session", params=RELEASES)
def guest(request: pytest.FixtureRequest) -> Guest:
    """A guest of each release, one test run on each."""
    return _shared(str(request.param), request.config)


@pytest.fixture(scope="session")
def bookworm(pytestconfig: pytest.Config) -> Guest:
    """A guest with Debian 12."""
    return _shared("bookworm", pytestconfig)


@pytest.fixture(scope="session")
def trixie(pytestconfig: pytest.Config) -> Guest:
    """A guest with Debian 13."""
    return _shared("trixie", pytestconfig)
