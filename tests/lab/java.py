"""A Java that Elastic's server runs on."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

OLDEST = 17
MODULE = "jdk.incubator.vector"
"""Asked for on the server's command line; some distributions of Java are built without it."""


@cache
def java_home() -> Path | None:
    """The first suitable one of `JAVA_HOME`, the `java` on the path and those under /usr/lib/jvm; None without any."""
    on_path = shutil.which("java")
    candidates = [
        *([Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []),
        *([Path(on_path).resolve().parents[1]] if on_path else []),
        *sorted(Path("/usr/lib/jvm").glob("*")),
    ]
    return next((home for home in candidates if _suits(home)), None)


def _suits(home: Path) -> bool:
    try:
        listing = subprocess.run(
            [home / "bin" / "java", "--list-modules"], capture_output=True, text=True, timeout=60, check=False
        ).stdout
    except OSError:
        return False
    version = re.search(r"^java\.base@(\d+)", listing, re.MULTILINE)
    return version is not None and int(version[1]) >= OLDEST and f"{MODULE}@" in listing
