"""What this machine lets the tiers do."""

import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.lab.guest.image import RELEASES, cached


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
    return ""


@cache
def elasticsearch_obstacle() -> str:
    """Why the Elasticsearch tier cannot run here; empty where it can."""
    for tool, package in (("java", "openjdk-17-jdk-headless"), ("mvn", "maven"), ("unzip", "unzip")):
        if not shutil.which(tool):
            return f"{tool} is not installed (Debian: apt install {package})"
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
