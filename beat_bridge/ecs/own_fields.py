"""Doorwatch's own fields: everything under `doorwatch.*`, declared once.

Documents are checked against this table, index mappings are built from it, and docs/fields.md is rendered from it.
ECS has no fields for socket filters, kernel hooks, coverage or responses; whatever ECS has a field for goes there.
"""

from enum import StrEnum

from beat_bridge.model.base import Value


class FieldType(StrEnum):
    """Elasticsearch field types that our own fields use."""

    KEYWORD = "keyword"
    TEXT = "match_only_text"
    LONG = "long"
    FLOAT = "float"
    DATE = "date"
    BOOLEAN = "boolean"


class OwnField(Value, frozen=True, kw_only=True):
    """One field of ours."""

    name: str
    type: FieldType
    description: str
    example: str
    array: bool = False
    indexed: bool = True
    """False: kept in the document, not searchable."""


def _field(name: str, kind: FieldType, description: str, example: str) -> OwnField:
    return OwnField(
        name=f"doorwatch.{name.removesuffix('[]')}",
        type=kind,
        description=description,
        example=example,
        array=name.endswith("[]"),
    )


_K, _T, _L, _F, _D, _B = FieldType

FINDING = (
    _field(
        "finding.kind",
        _K,
        "The question that was answered with yes: socket_filter, masquerade, shared_memory_execution, "
        "abnormal_pid_file, orphan_socket, kernel_hook_drift; hidden_process, hidden_socket, hidden_module or "
        "bpf_object_mismatch where views differ; or backdoor_process where several meet in one process.",
        "socket_filter",
    ),
    _field("finding.verdict", _K, "What it is taken for: unknown, suspicious or malicious.", "malicious"),
    _field("finding.confidence", _F, "How sure the detector is, 0 to 1.", "0.95"),
    _field(
        "finding.key",
        _K,
        "Names the same thing on the same boot of the same host in every pass.",
        "6b1c0e6d2f5a4f6d9c2b7a8e1d0c3f4a5b6c7d8e",
    ),
    _field(
        "finding.subject",
        _K,
        "The thing within its boot: process:PID:START_TICKS, socket:INODE, file:PATH, hook:SURFACE:SYMBOL, "
        "module:NAME, bpf_program:ID, bpf_map:ID, bpf_link:ID.",
        "process:812:4711",
    ),
    _field("finding.explanation", _T, "One or two sentences for an analyst.", "Process 812 waits for a secret packet."),
    _field("finding.reasons[]", _K, "The evidence, one plain clause each.", "the filter demands udp[8:2] = 0x7255"),
    _field("finding.state", _K, "Why it is told: opened, changed or gone.", "opened"),
    _field(
        "finding.standing",
        _K,
        "How firmly a difference between views stands: sampled (it was there throughout two looks, so it did not "
        "merely begin or end) or confirmed (a look while the guest stood still shows it too). Nothing else has it.",
        "confirmed",
    ),
    _field("finding.first_seen", _D, "When this key was first seen.", "2026-01-01T12:00:00.000000Z"),
    _field(
        "finding.related[]",
        _K,
        "Keys of the findings that this one combines.",
        "0f9d6b2c4e8a1c3b5d7f9a0b2c4d6e8f0a1b2c3d",
    ),
)
VIEW = (
    _field("view.seen_by[]", _K, "Viewpoints that show it: host, agent, hypervisor, drakvuf.", "host"),
    _field("view.missing_from[]", _K, "Viewpoints that should show it and do not.", "agent"),
)
FILTER = (
    _field("filter.kind", _K, "none, classic, ebpf, or unknown where the socket could not be asked.", "classic"),
    _field(
        "filter.sha256",
        _K,
        "SHA-256 over the program's records in network byte order.",
        "9f2c7b1e5a3d4c6b8a0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566a",
    ),
    _field("filter.instructions", _L, "Number of instructions.", "30"),
    OwnField(
        name="doorwatch.filter.program",
        type=_K,
        description="The program in decimal, as `tcpdump -ddd` prints it, with commas for line breaks: "
        "`doorwatch filter explain` reads it.",
        example="2,40 0 0 12,6 0 0 65535",
        indexed=False,
    ),
    _field("filter.summary", _T, "What the filter lets through, in one sentence.", "Accepts UDP that starts with rU."),
    _field("filter.verdict", _K, "benign, unknown, suspicious or malicious.", "malicious"),
    _field("filter.magic[]", _K, "Values demanded outside every protocol header.", "udp[8:2] = 0x7255"),
    _field("filter.family", _K, "Known malware that the constants or the shape point to.", "BPFDoor"),
    _field("filter.protocols[]", _K, "Protocols that some accepting path demands.", "udp"),
    _field("filter.paths[]", _K, "Accepting paths in words.", "ether proto ip and udp[8:2] = 0x7255"),
    _field("filter.reasons[]", _K, "Why this verdict, one plain clause each.", "demands a secret on 3 protocols"),
    _field("filter.complete", _B, "Every accepting path was followed.", "true"),
)
SOCKET = (
    _field("socket.family", _K, "Address family by the kernel's name.", "AF_PACKET"),
    _field("socket.type", _K, "Socket type by the kernel's name.", "SOCK_RAW"),
    _field("socket.protocol", _L, "EtherType for AF_PACKET, IP protocol for AF_INET and AF_INET6.", "3"),
    _field("socket.inode", _L, "Inode in sockfs.", "48113"),
    _field("socket.network_namespace", _L, "Inode of the network namespace.", "4026531840"),
    _field("socket.interface_index", _L, "Interface an AF_PACKET socket is bound to; 0 for all.", "2"),
    _field("socket.holders[]", _L, "Processes that have it open.", "812"),
    _field("socket.holders_complete", _B, "Every process's descriptors could be read.", "true"),
    _field("socket.seen_by[]", _K, "Kernel interfaces that showed it.", "packet_diag"),
)
PROCESS = (
    _field("process.start_ticks", _L, "Start time in clock ticks since boot.", "4711"),
    _field("process.deleted", _B, "Its executable file has no name any more.", "true"),
    _field("process.replaced", _B, "Deleted, and another file stands at the same path (an upgrade).", "false"),
    _field("process.filesystem", _K, "Type of the file system its executable lies on.", "tmpfs"),
    _field("process.memfd", _B, "Its executable was made by memfd_create(2).", "false"),
    _field("process.kernel_thread", _B, "PF_KTHREAD is set.", "false"),
    _field("process.environment_count", _L, "Number of environment variables.", "4"),
    _field("process.environment_signs[]", _K, "Variables that backdoors set for their shells.", "HISTFILE=/dev/null"),
    _field("process.session_id", _L, "Session.", "812"),
    _field("process.stdio_null", _B, "Descriptors 0, 1 and 2 all lead to /dev/null.", "true"),
    _field("process.tty", _L, "Device number of the controlling terminal; 0 for none.", "0"),
    _field("process.network_namespace", _L, "Inode of its network namespace.", "4026531840"),
    _field(
        "process.seen_by[]",
        _K,
        "The kernel's lists that showed it, where the viewpoint asks several: task_list, pid_table, run_queue.",
        "task_list",
    ),
)
PID_FILE = (
    _field("pid_file.content", _K, "First 64 bytes.", "812"),
    _field("pid_file.open_by[]", _L, "Processes that hold it open.", "812"),
    _field("pid_file.locked_by[]", _L, "Processes that hold an advisory lock on it.", "812"),
)
HOOK = (
    _field("hook.surface", _K, "syscall_table, syscall_dispatch, idt, ftrace, kprobe, netfilter, ...", "syscall_table"),
    _field("hook.symbol", _K, "The entry, as the kernel names it.", "__x64_sys_bpf"),
    _field("hook.expected", _K, "Symbol or bytes that belong there.", "__x64_sys_bpf"),
    _field("hook.actual", _K, "Symbol or bytes found there.", "0xffffffffc0a01000"),
    _field("hook.owner", _K, "Module or BPF program the actual target lies in.", "evil"),
)
MODULE = (
    _field("module.name", _K, "Name of a kernel module.", "nf_tables"),
    _field("module.state", _K, "live, coming, going or unformed.", "live"),
    _field("module.text_address", _K, "Where its code begins, in hexadecimal.", "0xffffffffc0a01000"),
    _field("module.text_size", _L, "Bytes of its code.", "4096"),
    _field("module.instance", _L, "Inode of /sys/module/NAME: another one each time it is loaded.", "4711"),
    _field(
        "module.seen_by[]",
        _K,
        "The lists that showed it: module_list, module_kset, module_tree; from inside proc_modules, sys_module.",
        "module_list",
    ),
)
BPF = (
    _field("bpf.object", _K, "What it is: program, map or link.", "program"),
    _field("bpf.id", _L, "Its id, as bpftool shows it.", "42"),
    _field("bpf.name", _K, "Its name, at most 15 bytes.", "count_packets"),
    _field("bpf.type", _K, "BPF_PROG_TYPE_*, BPF_MAP_TYPE_* or BPF_LINK_TYPE_* in small letters.", "socket_filter"),
    _field("bpf.tag", _K, "Of a program: the kernel's hash over its instructions.", "6deef7357e7b4530"),
    _field("bpf.map_ids[]", _L, "Of a program: ids of the maps it uses.", "7"),
    _field("bpf.program_id", _L, "Of a link: the program it attaches.", "42"),
    _field(
        "bpf.seen_by[]",
        _K,
        "What showed it, seen from outside: its table (prog_idr, map_idr, link_idr), or without that in_use alone.",
        "prog_idr",
    ),
)
COVERAGE = (
    _field("coverage.sensor", _K, "Which sensor gives account.", "socket_filters"),
    _field("coverage.status", _K, "complete, partial or none.", "partial"),
    _field("coverage.reason", _K, "Why not complete: absent, refused, failed or unsupported.", "refused"),
    _field("coverage.detail", _T, "What was not seen, why, and what to do about it.", "ptrace_scope is 3"),
    _field("coverage.examined", _L, "Objects looked at.", "1087"),
    _field(
        "coverage.listed",
        _B,
        "Everything there is was listed: what the inventory does not show does not exist, although some of it could "
        "not be looked into.",
        "true",
    ),
    _field("coverage.missed", _L, "Objects known to exist that could not be looked at.", "3"),
)
RESPONSE = (
    _field("response.id", _K, "Deterministic: incident and action.", "9d0c-isolate_network"),
    _field("response.incident", _K, "The incident that alerts of every path meet in.", "9d0c"),
    _field(
        "response.action",
        _K,
        "capture_evidence, stop_process, isolate_network, verify_cure, ...",
        "isolate_network",
    ),
    _field("response.state", _K, "started, succeeded, failed, refused, duplicate, expired, ...", "succeeded"),
    _field("response.lease.expires_at", _D, "When it undoes itself, or ended.", "2026-01-01T13:00:00.000000Z"),
    _field("response.proof", _T, "What was observed from outside that shows that it took effect.", "no packet passed"),
    _field("response.playbook", _K, "Playbook that asked for it.", "bpfdoor"),
    _field("response.explanation", _T, "What was done, or why not.", "isolated for one hour"),
    _field("response.evidence[]", _K, "Paths of evidence files.", "/var/lib/doorwatch/evidence/9d0c/812.tar"),
    _field("response.alert_ids[]", _K, "Alerts that asked for it.", "3f1a"),
    _field("response.rules[]", _K, "Names of the rules whose alerts asked for it.", "BPF on a raw socket"),
    _field(
        "response.finding_keys[]",
        _K,
        "Findings those alerts were about.",
        "6b1c0e6d2f5a4f6d9c2b7a8e1d0c3f4a5b6c7d8e",
    ),
    _field(
        "response.audit_hash",
        _K,
        "SHA-256 of this step's line in the responder's audit chain: it anchors that file outside the host.",
        "0f7d1c9e5a3d4c6b8a0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566a",
    ),
)
BRIDGE = (
    _field("bridge.passes", _L, "Looks taken since the bridge started.", "1440"),
    _field("bridge.open_findings", _L, "Findings open now.", "1"),
    _field("bridge.last_error", _T, "The last thing that went wrong.", "connection refused"),
    _field("bridge.spool.appended", _L, "Documents spooled.", "60000"),
    _field("bridge.spool.delivered", _L, "Documents the store has confirmed.", "59990"),
    _field("bridge.spool.dead_letters", _L, "Documents the store refused.", "0"),
    _field("bridge.spool.refused", _L, "Documents turned away because disk or budget was full.", "0"),
    _field("bridge.spool.pending_documents", _L, "Documents waiting.", "10"),
    _field("bridge.spool.pending_bytes", _L, "Bytes waiting.", "15000"),
    _field("bridge.spool.budget_bytes", _L, "Bytes the spool may hold.", "1073741824"),
    _field("bridge.spool.torn_records", _L, "Records cut short by a crash and set aside.", "0"),
    _field("bridge.spool.damaged_records", _L, "Documents whose bytes were destroyed on disk.", "0"),
    _field("bridge.spool.replayed", _L, "Dead letters spooled again.", "0"),
    _field("bridge.guests.watched", _L, "Guests that are watched from below.", "10"),
    _field("bridge.guests.unseen[]", _K, "Names of those that could not be looked at.", "web-1"),
)
DOCUMENT = (
    _field(
        "unavailable[]",
        _K,
        "Fields that could not be had, as `field: reason: detail`; the reason is absent, refused, failed or "
        "unsupported. A field that stands here is unknown, not empty.",
        "process.executable: refused: readlink: Permission denied",
    ),
    _field("truncated[]", _K, "Fields that were cut because they were too long.", "process.command_line"),
)
OWN_FIELDS: tuple[OwnField, ...] = (
    *FINDING,
    *VIEW,
    *FILTER,
    *SOCKET,
    *PROCESS,
    *PID_FILE,
    *HOOK,
    *MODULE,
    *BPF,
    *COVERAGE,
    *RESPONSE,
    *BRIDGE,
    *DOCUMENT,
)
