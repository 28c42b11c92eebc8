"""Fragments of documents, one for each thing of the vocabulary, that the four kinds of document are put together from.

Leaves may be None, empty or `Unavailable`: `shape.finish` deals with those.
"""

import posixpath
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from beat_bridge.ecs.fields import ECS_VERSION
from beat_bridge.ecs.shape import Body, epoch, moment
from beat_bridge.model.base import Unavailable
from beat_bridge.model.filters import FilterJudgement, Program, SocketFilter, program_sha256
from beat_bridge.model.host import Host
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram, Hook, KernelModule
from beat_bridge.model.pid_files import PidFile
from beat_bridge.model.processes import Environment, Executable, Process
from beat_bridge.model.sockets import Socket

FAMILIES = {1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET", 40: "AF_VSOCK"}
"""include/linux/socket.h"""
TYPES = {1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW", 4: "SOCK_RDM", 5: "SOCK_SEQPACKET", 10: "SOCK_PACKET"}
"""include/linux/net.h"""


@cache
def agent_version() -> str:
    """Version of the installed doorwatch."""
    return version("doorwatch")


def envelope(dataset: str, namespace: str, at: datetime, event_id: str) -> Body:
    """What every document has: when, which data stream, which kind of event, and from what."""
    return {
        "@timestamp": moment(at),
        "ecs": {"version": ECS_VERSION},
        "data_stream": {"type": "logs", "dataset": f"doorwatch.{dataset}", "namespace": namespace},
        "agent": {"type": "doorwatch", "version": agent_version()},
        # never `alert`: Elastic's External Alerts rule would make a second alert of it
        "event": {"id": event_id, "kind": "event", "module": "doorwatch", "dataset": f"doorwatch.{dataset}"},
    }


def host_part(host: Host) -> Body:
    """The observed host, never the machine that collected the data."""
    return {
        "host": {
            "id": host.id,
            "name": host.name,
            "hostname": host.name,
            "architecture": host.architecture,
            "boot": {"id": host.boot_id},
            "os": {"type": "linux", "kernel": host.kernel_release, "name": host.os_name},
        }
    }


def observer_part(observer: Host | None) -> Body:
    """The machine from which the observed host was looked at; nothing where it looked at itself."""
    if observer is None:
        return {}
    return {
        "observer": {
            "hostname": observer.name,
            "type": "sensor",
            "vendor": "Doorwatch",
            "product": "Doorwatch",
            "version": agent_version(),
        }
    }


def process_part(process: Process, parent: Process | None = None) -> Body:
    """A process in ECS fields, and what ECS has no field for under `doorwatch.process`.

    No `process.entity_id`: only Elastic Defend can make one.
    """
    fields = _process_fields(process)
    if parent is not None:
        fields["parent"] = _process_fields(parent)
    else:
        fields["parent"] = {"pid": process.parent_pid}
    user_id = _user_id(process)
    fields["user"] = {"id": user_id}
    return {
        "process": fields,
        # named once as unavailable, under process.user.id
        "user": {"id": None if isinstance(user_id, Unavailable) else user_id},
        "doorwatch": {"process": _own_process_fields(process)},
    }


def _process_fields(process: Process) -> Body:
    executable = process.executable
    args = process.args
    return {
        "pid": process.pid,
        "name": process.name,
        "executable": executable.path if isinstance(executable, Executable) else executable,
        "start": epoch(process.started_at),
        "args": args if isinstance(args, Unavailable) else list(args),
        "args_count": None if isinstance(args, Unavailable) else len(args),
        "command_line": None if isinstance(args, Unavailable) else " ".join(args),
    }


def _own_process_fields(process: Process) -> Body:
    fields: Body = {
        "start_ticks": process.start_ticks,
        "kernel_thread": process.kernel_thread,
        "session_id": process.session_id,
        "tty": process.tty,
        "stdio_null": process.stdio_null,
        "network_namespace": process.network_namespace,
        "seen_by": list(process.seen_by),
    }
    if isinstance(process.executable, Executable):
        fields["deleted"] = process.executable.deleted
        fields["replaced"] = process.executable.replaced
        fields["filesystem"] = process.executable.filesystem
        fields["memfd"] = process.executable.memfd
    if isinstance(process.environment, Environment):
        fields["environment_count"] = process.environment.count
        fields["environment_signs"] = list(process.environment.signs)
    else:
        fields["environment_count"] = process.environment
    return fields


def _user_id(process: Process) -> str | Unavailable:
    return process.user_id if isinstance(process.user_id, Unavailable) else str(process.user_id)


def socket_part(socket: Socket) -> Body:
    """A socket under `doorwatch.socket`, with its filter."""
    return {
        "doorwatch": {
            "socket": {
                "family": FAMILIES.get(socket.family, f"AF_{socket.family}"),
                "type": TYPES.get(socket.type, f"SOCK_{socket.type}"),
                "protocol": socket.protocol,
                "inode": socket.inode,
                "network_namespace": socket.network_namespace,
                "interface_index": socket.interface_index,
                "holders": sorted({holder.pid for holder in socket.holders}),
                "holders_complete": socket.holders_complete,
                "seen_by": list(socket.seen_by),
            },
            "filter": _filter_fields(socket.filter),
        }
    }


def _filter_fields(carried: SocketFilter) -> Body:
    fields: Body = {"kind": carried.kind.value}
    if carried.program:
        fields["sha256"] = program_sha256(carried.program)
        fields["instructions"] = len(carried.program)
        fields["program"] = program_text(carried.program)
    elif carried.unavailable is not None:
        fields["program"] = carried.unavailable
    return fields


def program_text(program: Program) -> str:
    """A program on one line as `tcpdump -ddd` prints it, with commas for line breaks: `2,40 0 0 12,6 0 0 65535`."""
    return ",".join([str(len(program)), *(f"{i.code} {i.jt} {i.jf} {i.k}" for i in program)])


def judgement_part(judgement: FilterJudgement) -> Body:
    """What a filter demands."""
    return {
        "doorwatch": {
            "filter": {
                "summary": judgement.summary,
                "verdict": judgement.verdict.value,
                "magic": [magic.text for magic in judgement.magic],
                "family": judgement.family,
                "protocols": list(judgement.protocols),
                "paths": list(judgement.paths),
                "reasons": list(judgement.reasons),
                "complete": judgement.complete,
            }
        }
    }


def pid_file_part(file: PidFile) -> Body:
    """A PID or lock file: ECS `file.*`, and who holds it."""
    directory, name = posixpath.split(file.path)
    return {
        "file": {
            "path": file.path,
            "directory": directory,
            "name": name,
            "extension": posixpath.splitext(name)[1].removeprefix("."),
            "type": "file",
            "size": file.size,
            "mode": f"{file.mode:04o}",
            "uid": str(file.user_id),
            "mtime": epoch(file.modified_at),
            "ctime": epoch(file.changed_at),
            "created": epoch(file.born_at),
        },
        "doorwatch": {
            "pid_file": {
                "content": file.content,
                "open_by": list(file.open_by),
                "locked_by": list(file.locked_by),
            }
        },
    }


def hook_part(hook: Hook) -> Body:
    """A place in the kernel that leads elsewhere."""
    return {
        "doorwatch": {
            "hook": {
                "surface": hook.surface,
                "symbol": hook.symbol,
                "expected": hook.expected,
                "actual": hook.actual,
                "owner": hook.owner,
            }
        }
    }


def module_part(module: KernelModule) -> Body:
    """A kernel module."""
    return {
        "doorwatch": {
            "module": {
                "name": module.name,
                "state": module.state,
                # an address does not fit into a signed 64-bit number
                "text_address": f"{module.text_address:#x}" if module.text_address else None,
                "text_size": module.text_size,
                "instance": module.instance or None,
                "seen_by": list(module.seen_by),
            }
        }
    }


def bpf_part(thing: BpfProgram | BpfMap | BpfLink) -> Body:
    """An eBPF program, map or link."""
    fields: Body = {"id": thing.id, "type": thing.type, "seen_by": list(thing.seen_by)}
    if isinstance(thing, BpfProgram):
        fields |= {"object": "program", "name": thing.name, "tag": thing.tag, "map_ids": list(thing.map_ids)}
    elif isinstance(thing, BpfMap):
        fields |= {"object": "map", "name": thing.name}
    else:
        fields |= {"object": "link", "program_id": thing.program_id}
    return {"doorwatch": {"bpf": fields}}


def threat_part(techniques: tuple[str, ...]) -> Mapping[str, Any]:
    """ATT&CK techniques, and sub-techniques where there are any."""
    if not techniques:
        return {}
    return {
        "threat": {
            "framework": "MITRE ATT&CK",
            "technique": {
                "id": sorted({technique.partition(".")[0] for technique in techniques}),
                "subtechnique": {"id": sorted({technique for technique in techniques if "." in technique})},
            },
        }
    }
