"""Elastic's own package validator, built from the program in `validator/`."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("validator")
WHEEL = "pip install --require-hashes -r tests/kibana_dashboards/validator/requirements.txt"
BUILD_SECONDS = 900


class Verdict(NamedTuple):
    """What the validator says."""

    accepted: bool
    said: str


def obstacle() -> str:
    """Why the validator cannot be built here; empty where it can."""
    go = shutil.which("go")
    if go is None:
        return f"Go is not installed ({WHEEL})"
    environment = subprocess.run([go, "env", "GOVERSION", "GOTOOLCHAIN"], capture_output=True, text=True, check=True)
    version, toolchain = environment.stdout.split()
    wanted = _numbers(re.findall(r"^go (\S+)", (SOURCE / "go.mod").read_text(), re.MULTILINE)[0])
    # from 1.21 on Go brings the toolchain that a module asks for, unless it is told not to
    if _numbers(version) >= wanted or (_numbers(version) >= (1, 21) and toolchain != "local"):
        return ""
    return f"Go {'.'.join(map(str, wanted))} or newer is wanted, this is {version} ({WHEEL})"


def build(directory: Path) -> Path:
    """Build the program: the modules that go.sum pins, from Go's module proxy or its cache."""
    program = directory / "validator"
    built = subprocess.run(
        ["go", "build", "-mod=readonly", "-buildvcs=false", "-o", str(program), "."],
        cwd=SOURCE,
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return program


def validate(program: Path, package: Path) -> Verdict:
    """Hold a package against the specification."""
    done = subprocess.run([str(program), str(package)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    return Verdict(done.returncode == 0, done.stdout)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
