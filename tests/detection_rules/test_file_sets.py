"""Files of one directory are changed together: killed at any moment, refused by the disk, or met half-way."""

import fcntl
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beat_bridge.errors import DoorwatchError
from detection_rules.file_sets import PENDING, change_files, finish, refuse_half_changed

OLD = {"a.toml": b"old a", "b.toml": b"old b", "c.kibana.json": b"old c"}
NEW = {"a.toml": b"new a", "b.toml": b"new b", "d.toml": b"new d"}
CHANGE: dict[str, bytes | None] = {**NEW, "c.kibana.json": None}


def content(directory: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def change(directory: Path) -> None:
    """What every test does."""
    change_files(directory, {directory / name: data for name, data in CHANGE.items()})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three files."""
    for name, data in OLD.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def in_child(work: Callable[[], object]) -> int:
    """Do something in a child process; the status it ended with."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except DoorwatchError:
            code = 3
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def killed_at(step: int, directory: Path) -> bool:
    """Change the files in a child that is killed at its n-th touch of the disk; whether it was."""
    touches = iter(range(step + 1))

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def touch(*arguments: Any, **named: Any) -> Any:
            if next(touches) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return touch

    def work() -> None:
        for name in ("replace", "unlink", "open", "fsync"):
            setattr(os, name, dying(getattr(os, name)))
        for name in ("replace", "unlink"):
            setattr(Path, name, dying(getattr(Path, name)))
        change(directory)

    return os.WIFSIGNALED(in_child(work))


def steps() -> Iterator[int]:
    """Enough of them; the last is asserted to be behind the end."""
    yield from range(60)


def test_all_is_changed_and_nothing_is_left_behind(directory: Path) -> None:
    """What is new stands there, what is to go is gone, and no other file has come."""
    change(directory)
    assert content(directory) == NEW
    assert not finish(directory)


def test_killed_at_any_moment_it_is_the_old_the_new_or_refused(tmp_path_factory: Any) -> None:
    """No reader ever takes half a change for a whole one, and `finish` ends in the old files or in the new ones."""
    seen = {"old": 0, "pending": 0}
    for step in steps():
        place = tmp_path_factory.mktemp(f"step{step}")
        for name, data in OLD.items():
            (place / name).write_bytes(data)
        if not killed_at(step, place):
            break
        pending = (place / PENDING).exists()
        named = {name: data for name, data in content(place).items() if not name.startswith(".")}
        if pending:
            with pytest.raises(DoorwatchError, match="broken off half-way"):
                refuse_half_changed(place)
        else:
            assert named in (OLD, NEW)
            refuse_half_changed(place)
        finish(place)
        assert content(place) == (NEW if pending or named == NEW else OLD)
        change(place)
        assert content(place) == NEW
        seen["pending" if pending else "old"] += 1
    else:
        pytest.fail("the change never came to its end")
    assert seen["old"] > len(NEW)
    assert seen["pending"] > len(NEW)


def test_a_disk_that_takes_no_more_changes_nothing(directory: Path) -> None:
    """Met at the last of the files, with the first already written beside: all are as they were, nothing lies about."""
    large = {directory / "a.toml": b"new", directory / "b.toml": b"x" * 4096, directory / "c.kibana.json": None}

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        change_files(directory, large)

    assert os.WEXITSTATUS(in_child(work)) == 3
    assert content(directory) == OLD


def test_a_refused_change_takes_back_the_directories_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import into a directory that is not there yet, and cannot be filled, leaves none."""

    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("detection_rules.file_sets.write_atomically", full)
    with pytest.raises(DoorwatchError, match="No space left on device; nothing was changed"):
        change_files(tmp_path / "one" / "two", {tmp_path / "one" / "two" / "a.toml": b"x"})
    assert content(tmp_path) == {}


def test_two_at_once_do_not_meet(directory: Path) -> None:
    """While one changes a directory, another is told so, and changes nothing."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        for work in (change, finish):
            with pytest.raises(DoorwatchError, match="another import is changing it"):
                work(directory)
    finally:
        os.close(descriptor)
    assert content(directory) == OLD
    change(directory)


def test_a_list_of_others_is_not_followed(directory: Path) -> None:
    """A list that is broken, or names files elsewhere, is an error in one line and touches nothing."""
    outside = directory / "deep"
    for text in ("{", "[]", '{"written": ["../x"]}', json.dumps({"written": [], "removed": ["/etc/hostname"]})):
        (directory / PENDING).write_text(text, "utf-8")
        with pytest.raises(DoorwatchError, match=PENDING) as error:
            finish(directory)
        assert "\n" not in str(error.value)
        (directory / PENDING).unlink()
    assert content(directory) == OLD
    assert not outside.exists()
    assert not finish(directory / "nowhere")
