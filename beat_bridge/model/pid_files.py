"""PID and lock files under /run."""

from beat_bridge.model.base import Unavailable, Value


class PidFile(Value, frozen=True, kw_only=True):
    """One `*.pid` or `*.lock` file."""

    path: str
    """With symbolic links in its directory resolved: /run, not /var/run."""
    size: int
    mode: int
    """Permission bits."""
    user_id: int
    modified_at: float
    """Seconds since the epoch (mtime: writable by anybody who owns the file)."""
    changed_at: float
    """Seconds since the epoch (ctime)."""
    born_at: float | Unavailable
    """Seconds since the epoch (btime)."""
    content: str | Unavailable = ""
    """The first 64 bytes, undecodable bytes escaped."""
    open_by: tuple[int, ...] = ()
    """Processes that hold it open, sorted."""
    locked_by: tuple[int, ...] = ()
    """Processes that hold an advisory lock on it (/proc/locks), sorted."""
