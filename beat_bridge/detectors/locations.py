"""What a path says about a file that is executed: system, shared memory, a place anybody may write to."""

import posixpath

_SHARED_MEMORY = ("/dev/shm/", "/run/shm/")  # noqa: S108 - names of places, nothing is written there
_VOLATILE = (
    "/dev/",
    "/run/lock/",
    "/run/shm/",
    "/run/user/",
    "/tmp/",  # noqa: S108
    "/var/tmp/",  # noqa: S108
)
"""Where no package puts a program: emptied at boot or writable by everybody."""
_TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108
_PEOPLE = ("/home/", "/media/", "/mnt/", "/root/", "/srv/", "/var/www/")
"""Where people put programs."""
_SYSTEM = ("/bin/", "/sbin/", "/lib/", "/lib64/", "/usr/")

IN_MEMORY = frozenset({"tmpfs", "ramfs", "hugetlbfs"})
"""File systems that no disk keeps."""


def real_path(path: str) -> str:
    """A path as a merged /usr with /run has it: /bin/x is /usr/bin/x, /var/run/x is /run/x."""
    path = posixpath.normpath(path) if path.startswith("/") else path
    if path.startswith(("/bin/", "/sbin/", "/lib/", "/lib64/")):
        return f"/usr{path}"
    if path.startswith("/var/run/"):
        return path.removeprefix("/var")
    return path


def base_name(path: str) -> str:
    """The last component."""
    return posixpath.basename(path)


def in_shared_memory(path: str) -> bool:
    """On a POSIX shared memory file system (shm_overview(7))."""
    return real_path(path).startswith(_SHARED_MEMORY)


def is_volatile(path: str) -> bool:
    """No package puts a program here: shared memory, devices, temporary and run-time directories."""
    return real_path(path).startswith(_VOLATILE)


def is_temporary(path: str) -> bool:
    """Where people and build tools put what they run once."""
    return path.startswith(_TEMPORARY)


def is_peoples(path: str) -> bool:
    """People put programs here, distributions do not."""
    return real_path(path).startswith(_PEOPLE)


def is_system(path: str) -> bool:
    """Distributions put programs here."""
    return path.startswith(_SYSTEM) and not is_volatile(path)
