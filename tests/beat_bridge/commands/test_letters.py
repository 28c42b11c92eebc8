"""`doorwatch letters`, as an operator meets it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from beat_bridge.commands.letters import letters
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import SerialisedDocument
from beat_bridge.shipping import Refusal, Spool
from beat_bridge.shipping.letters import write_letter


def run(*arguments: str) -> Result:
    """Run the command; errors come through as they are raised."""
    return CliRunner().invoke(letters, arguments, catch_exceptions=False)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A spool with two dead letters, one of them with a name meant for the terminal."""
    with Spool(tmp_path) as spool:
        for name in ("first", "second\x1b[2J"):
            spool.append([SerialisedDocument(data_stream="logs-doorwatch.finding-default", id=name, source=b'{"n":1}')])
            batch = spool.next_batch(1, 1000)
            assert batch
            reason = Refusal(type="document_parsing_exception", reason="failed to parse field [n]", status=400)
            spool.commit(batch, [write_letter(batch.records[0].document(), batch.end - 1, datetime.now(UTC), reason)])
    return tmp_path


def test_list_shows_documents_and_reasons(directory: Path) -> None:
    """The JSON form has stream, id, reason, time and the document itself, one object a line."""
    rows = [json.loads(line) for line in run("list", "--spool", str(directory), "--format", "json").output.splitlines()]
    assert [row["id"] for row in rows] == ["first", "second\x1b[2J"]
    assert rows[0]["data_stream"] == "logs-doorwatch.finding-default"
    assert rows[0]["reason"]["type"] == "document_parsing_exception"
    assert (rows[0]["source"], rows[0]["reason"]["status"]) == ({"n": 1}, 400)
    assert datetime.fromisoformat(rows[0]["at"]).tzinfo


def test_the_table_cannot_be_used_against_the_terminal(directory: Path) -> None:
    """Control characters in a document's id do not reach the screen."""
    output = run("list", "--spool", str(directory)).output
    assert "first" in output
    assert "\x1b[2J" not in output


def test_the_table_fits_a_narrow_terminal(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 80 columns the data stream, the id and the error's type each stand in one piece."""
    monkeypatch.setenv("COLUMNS", "80")
    output = run("list", "--spool", str(directory)).output
    assert max(map(len, output.splitlines())) <= 80
    for whole in ("logs-doorwatch.finding-default", "400 document_parsing_exception", "failed to parse field [n]"):
        assert whole in output


def test_replay_empties_the_list(directory: Path) -> None:
    """Replayed by id, then all: the list is empty and the spool has the documents."""
    assert "1 document put back" in run("replay", "--spool", str(directory), "--id", "first").output
    assert "1 document put back" in run("replay", "--spool", str(directory)).output
    assert run("list", "--spool", str(directory), "--format", "json").output == ""
    with Spool(directory) as spool:
        assert (spool.status().pending_documents, spool.status().replayed) == (2, 2)


def test_an_unknown_id_is_said(directory: Path) -> None:
    """Asking for a letter that is not there is an error, not a silent zero."""
    with pytest.raises(DoorwatchError, match="no dead letter has the id third"):
        run("replay", "--spool", str(directory), "--id", "third")


def test_a_running_bridge_is_not_disturbed(directory: Path) -> None:
    """While the bridge runs letters can be listed; a replay says who has the spool."""
    with Spool(directory):
        assert "first" in run("list", "--spool", str(directory)).output
        with pytest.raises(DoorwatchError, match="open in another process"):
            run("replay", "--spool", str(directory))


def test_a_wrong_directory_is_said(tmp_path: Path) -> None:
    """A directory that is no spool is left as it is."""
    with pytest.raises(DoorwatchError, match="not a spool directory"):
        run("replay", "--spool", str(tmp_path))
    assert not list(tmp_path.iterdir())
