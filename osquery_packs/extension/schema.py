"""The extension's tables: their columns, in osquery's types. What a table holds is said in docs/osquery.md."""

from typing import Literal

from beat_bridge.model.base import Value

ColumnType = Literal["TEXT", "INTEGER", "BIGINT", "DOUBLE"]


class Column(Value, frozen=True, kw_only=True):
    """One column."""

    name: str
    type: ColumnType
    description: str


class Table(Value, frozen=True, kw_only=True):
    """One table."""

    name: str
    description: str
    columns: tuple[Column, ...]


def _table(name: str, description: str, *columns: tuple[str, ColumnType, str]) -> Table:
    return Table(
        name=name,
        description=description,
        columns=tuple(Column(name=column, type=kind, description=text) for column, kind, text in columns),
    )


SOCKET_FILTERS = _table(
    "doorwatch_socket_filters",
    "Every socket that carries a filter, once for each process that holds it, with what the filter lets through.",
    ("pid", "BIGINT", "The holder; -1 where no process shows the socket."),
    ("fd", "BIGINT", "The holder's descriptor; -1 where it has none."),
    ("path", "TEXT", "The holder's program; empty where it could not be read."),
    ("cmdline", "TEXT", "The holder's arguments."),
    ("deleted", "INTEGER", "1 where the holder's program was removed, 0 where not, -1 where it could not be read."),
    ("socket", "BIGINT", "The socket's inode, as in process_open_sockets."),
    ("family", "INTEGER", "AF_*: 17 is AF_PACKET, 2 AF_INET, 10 AF_INET6."),
    ("type", "INTEGER", "SOCK_*: 1 stream, 2 datagram, 3 raw."),
    ("protocol", "INTEGER", "EtherType or IP protocol; -1 where it could not be told."),
    ("net_namespace", "TEXT", "Inode of the network namespace; empty where it could not be told."),
    ("kind", "TEXT", "classic, ebpf, or unknown where the socket could not be asked."),
    ("filter_sha256", "TEXT", "Over the classic program in network byte order: one name on every machine."),
    ("instructions", "INTEGER", "Length of the classic program."),
    (
        "verdict",
        "TEXT",
        "benign, unknown, suspicious, malicious; unknown is not benign; empty where it hears only its own packets.",
    ),
    ("magic", "TEXT", "The values it demands past the headers, as in udp[8:2] = 0x7255, joined by commas."),
    ("family_name", "TEXT", "Malware that its constants or shape point to; empty where none does."),
    ("summary", "TEXT", "What it lets through, in one sentence."),
)
FINDINGS = _table(
    "doorwatch_findings",
    "Everything Doorwatch finds on this host in one look.",
    ("finding_key", "TEXT", "The same thing on the same boot has the same key, here and in Elasticsearch."),
    ("kind", "TEXT", "Which question was answered with yes."),
    ("verdict", "TEXT", "benign, unknown, suspicious or malicious."),
    ("confidence", "DOUBLE", "0 to 1."),
    ("subject", "TEXT", "process:PID:START, socket:INODE, file:PATH, ..."),
    ("pid", "BIGINT", "The process; -1 where it is not about one."),
    ("path", "TEXT", "Its program."),
    ("techniques", "TEXT", "ATT&CK ids, joined by commas."),
    ("explanation", "TEXT", "One or two sentences."),
    ("reasons", "TEXT", "The evidence, joined by semicolons."),
)
COVERAGE = _table(
    "doorwatch_coverage",
    "What each sensor could see in that look. A sensor that could not look is not a clean host.",
    ("sensor", "TEXT", "socket_filters, processes, pid_files, ..."),
    ("status", "TEXT", "complete, partial or none."),
    ("reason", "TEXT", "absent, refused, failed or unsupported; empty where complete."),
    ("detail", "TEXT", "What was not seen, and why."),
    ("examined", "BIGINT", "Objects looked at."),
    ("missed", "BIGINT", "Objects that are there and could not be looked at."),
    ("looked_at", "BIGINT", "When, in seconds since the epoch."),
)
TABLES = (SOCKET_FILTERS, FINDINGS, COVERAGE)
