"""A package as a zip file, the same to the byte wherever and whenever it is built."""

import io
import zipfile
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import write_atomically
from kibana_dashboards.package.contents import Package

_NO_TIME = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip file can name: when it was built says nothing about what is in it."""
_UNIX = 3
_REGULAR_FILE_0644 = 0o100644


def archive(package: Package) -> bytes:
    """The zip file: one folder, files in the order of their names, without times, owners or the builder's umask."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for path in sorted(package.files):
            entry = zipfile.ZipInfo(f"{package.name}-{package.version}/{path}", _NO_TIME)
            entry.create_system = _UNIX
            entry.external_attr = _REGULAR_FILE_0644 << 16
            # stored, not compressed: another zlib would compress into other bytes
            entry.compress_type = zipfile.ZIP_STORED
            file.writestr(entry, package.files[path])
    return written.getvalue()


def write_package(package: Package, directory: Path) -> Path:
    """Write NAME-VERSION.zip into a directory, whole or not at all.

    Returns:
        The file.

    Raises:
        DoorwatchError: The directory is not there, or the file cannot be written.
    """
    path = directory / f"{package.name}-{package.version}.zip"
    try:
        write_atomically(path, archive(package), mode=0o644)
    except OSError as error:
        raise DoorwatchError(f"{path}: the package cannot be written: {error.strerror}") from error
    return path
