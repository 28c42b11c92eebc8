"""`doorwatch doctor`: what works here, told by trying it."""

import json

import pytest
from click.testing import CliRunner

from beat_bridge.commands import doctor as room
from beat_bridge.commands.doctor import Check, State, report
from doorwatch.doctor import doctor


@pytest.mark.live
def test_every_sensor_gives_an_account() -> None:
    """Each sensor, the kernel's settings, nft and the extras are told, one JSON object a line."""
    answer = CliRunner().invoke(doctor, ["--format", "json"])
    assert answer.exit_code == 0
    told = {row["name"]: row["state"] for row in map(json.loads, answer.output.splitlines())}
    sensors = {"pidfd_getfd", "packet_sockets", "socket_filters", "processes", "pid_files"}
    assert {f"sensor {sensor}" for sensor in sensors} <= set(told)
    assert {"kernel", "yama", "user namespaces", "nft", "extra elasticsearch", "extra responder"} <= set(told)
    assert told["sensor pidfd_getfd"] == "works"


def test_further_checks_can_be_handed_in(capsys: pytest.CaptureFixture[str]) -> None:
    """The front door's own checks are reported like the local ones."""
    report("table", [lambda: (Check(name="cluster", state=State.NO, detail="refused: check the address"),)])
    text = capsys.readouterr().out
    assert "cluster" in text
    assert "refused: check the address" in text


@pytest.mark.parametrize(
    ("scope", "user", "state"),
    [
        ("", 1000, State.WORKS),
        ("0", 1000, State.WORKS),
        ("1", 1000, State.PARTLY),
        ("1", 0, State.WORKS),
        ("3", 0, State.NO),
    ],
)
def test_yama_is_told_for_this_user(scope: str, user: int, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restricted ptrace_scope matters to ordinary users, and its strictest value to root too."""
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert room._yama(scope).state is state


def test_missing_tools_come_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nft and an extra are not installed, the line says how to get them."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    told = {check.name: check for check in room.tools()}
    assert all(check.state is State.NO for check in told.values())
    assert "apt install nftables" in told["nft"].detail
    assert "doorwatch[responder]" in told["extra responder"].detail
