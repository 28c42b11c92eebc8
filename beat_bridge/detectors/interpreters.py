"""Programs that run programs: what runs is the script, and the process's executable does not say so."""

import re

from beat_bridge.detectors.locations import base_name
from beat_bridge.model.processes import Executable, Process

_INTERPRETER = re.compile(
    r"(python|pypy|perl|ruby|php|lua|luajit|node|nodejs|java|tclsh|wish|mono|dotnet|guile|gjs|erl|beam|deno|bun|Rscript"
    r"|R|bash|dash|ash|zsh|ksh|mksh|fish|sh|qemu-[a-z0-9_]+|ld-linux[a-z0-9_-]*|ld-musl[a-z0-9_-]*|ld)"
    r"([-.]?\d[\w.]*|[-.]static|\.smp|\.so|\.so\.\d|-fpm[\d.]*|-cgi[\d.]*)*"
)
"""Programs that run others and let themselves be called like them."""
_EMULATOR = re.compile(r"(qemu-|ld-|ld$|ld\.so)")
"""These run other executables under the others' names."""
_OPTIONS_WITH_VALUE = frozenset(
    ["--add-modules", "--class-path", "--module-path", "-I", "-W", "-X", "-classpath", "-cp", "-o", "-p"]
)
"""Options of common interpreters that are followed by something which is not the script."""
_OPTIONS_WITH_CODE = frozenset({"--eval", "--execute", "--print", "-E", "-c", "-e", "-m", "-r"})
"""Options after which there is no script."""


def is_interpreter(path: str) -> bool:
    """Its executable runs what its arguments name."""
    return _INTERPRETER.fullmatch(base_name(path)) is not None


def is_emulator(path: str) -> bool:
    """A dynamic linker called as a program, or a user-mode emulator: others run in it under their own names."""
    return _EMULATOR.match(base_name(path)) is not None


def script_of(process: Process) -> str:
    """The file an interpreter was told to run, as it was named; empty where there is none."""
    if not isinstance(process.executable, Executable) or not is_interpreter(process.executable.path):
        return ""
    args = iter(process.args[1:] if isinstance(process.args, tuple) else ())
    for arg in args:
        if not arg.startswith("-"):
            return arg
        if arg in _OPTIONS_WITH_CODE:
            return ""
        if arg in _OPTIONS_WITH_VALUE:
            next(args, "")
    return ""
