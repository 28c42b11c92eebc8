"""A baseline on disk is used for its own boot alone, and whatever is wrong with its file is a log line."""

import logging
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from beat_bridge.sensors.hypervisor.integrity.baseline import MAX_BYTES, Baseline, encode
from beat_bridge.sensors.hypervisor.integrity.keeping import keep_baseline, kept_baseline

WHOLE = Baseline(
    build_id="ab" * 20, kernel_offset=0, boot_id="one", kernel_text=("0" * 32,), read_only_data=("1" * 32,)
)
HERE = replace(WHOLE, kernel_text=(), read_only_data=())


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    """In the same boot; the file is nobody else's to read."""
    path = tmp_path / "baseline"
    assert kept_baseline(path, HERE) is None
    assert keep_baseline(path, WHOLE)
    assert kept_baseline(path, HERE) == WHOLE
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "partial", [replace(WHOLE, boot_id=""), replace(WHOLE, kernel_text=("",)), replace(WHOLE, read_only_data=())]
)
def test_only_what_is_whole_is_kept(tmp_path: Path, partial: Baseline) -> None:
    """Without a boot's id, or a page, nothing is written, and the next look tries again."""
    assert not keep_baseline(tmp_path / "baseline", partial)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "here",
    [
        replace(HERE, boot_id="two"),
        replace(HERE, boot_id=""),
        replace(HERE, kernel_offset=1 << 21),
        replace(HERE, build_id="cd" * 20),
    ],
)
def test_another_boot_is_not_compared(tmp_path: Path, here: Baseline) -> None:
    """Of another boot, or a boot that has no id yet: a kernel that is not moved looks the same after a restart."""
    keep_baseline(tmp_path / "baseline", WHOLE)
    assert kept_baseline(tmp_path / "baseline", here) is None


@pytest.mark.parametrize("content", [b"", b"{", encode(WHOLE)[:-9], b"\xff" * 64, b" " * (MAX_BYTES + 1)])
def test_a_damaged_file_is_a_log_line(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is not believed, and nothing breaks."""
    path = tmp_path / "baseline"
    path.write_bytes(content)
    with caplog.at_level(logging.INFO):
        assert kept_baseline(path, HERE) is None
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert "\n" not in record.getMessage()


def test_neither_links_nor_pipes_are_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A link that somebody put there is refused, and a pipe holds nobody up."""
    keep_baseline(tmp_path / "elsewhere", WHOLE)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        assert kept_baseline(tmp_path / name, HERE) is None
    assert len(caplog.records) == 2


def test_a_place_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is left to be done about it at the next look."""
    assert keep_baseline(tmp_path / "nowhere" / "baseline", WHOLE)
    (record,) = caplog.records
    assert "cannot be kept" in record.getMessage()
