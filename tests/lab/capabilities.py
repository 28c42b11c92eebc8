"""What this machine lets the tiers do."""

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.lab.guest.image import RELEASES, cached
from tests.lab.java import MODULE, OLDEST, java_home

NOBODY = 65534


@cache
def live_obstacle() -> str:
    """Why live tests cannot run here; empty where they can."""
    for tool, package in (("unshare", "util-linux"), ("ip", "iproute2"), ("nft", "nftables")):
        if not shutil.which(tool):
            return f"{tool} is not installed (Debian: apt install {package})"
    answer = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "true"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    if answer.returncode:
        return f"user and network namespaces are not allowed here: {answer.stderr.strip()}"
    if os.geteuid() == 0 and not _reachable_by_anybody():
        return f"some tests become an ordinary user, who cannot execute {sys.executable}: check out elsewhere"
    return ""


def _reachable_by_anybody() -> bool:
    """Whether an ordinary user may execute this interpreter, which lies in the checkout."""
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    answer = subprocess.run([*drop, sys.executable, "-c", ""], capture_output=True, timeout=10, check=False)
    return answer.returncode == 0


@cache
def elasticsearch_obstacle() -> str:
    """Why the Elasticsearch tier cannot run here; empty where it can."""
    for tool, package in (("mvn", "maven"), ("npm", "npm"), ("unzip", "unzip")):
        if not shutil.which(tool):
            return f"{tool} is not installed (Debian: apt install {package})"
    if java_home() is None:
        return f"no Java {OLDEST} or newer with {MODULE} is installed (Debian: apt install default-jdk-headless)"
    return ""


@cache
def guest_obstacle() -> str:
    """Why no guest can be started here; empty where it can."""
    if platform.machine() != "x86_64":
        return f"guests are x86_64, and this machine is {platform.machine()}"
    built = all(map(cached, RELEASES))
    tools = [("qemu-system-x86_64", "qemu-system-x86"), ("setpriv", "util-linux")]
    if not built:
        tools += [("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs")]
    for tool, package in tools:
        if not shutil.which(tool):
            return f"{tool} is not installed (Debian: apt install {package})"
    if not built and os.geteuid():
        return "building a guest's image needs root, once"
    if not built and not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        return "Debian's archive keys are not installed (Debian: apt install debian-archive-keyring)"
    return ""
