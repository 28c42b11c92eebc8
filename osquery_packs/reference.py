"""docs/osquery.md, made from the packs and the extension's tables."""

from collections.abc import Iterable, Iterator
from itertools import chain

from osquery_packs.cost import cost, total
from osquery_packs.extension import schema
from osquery_packs.loading import load_packs
from osquery_packs.model import Pack

_HEAD = """\
<!-- Made by `make docs` from osquery_packs/: change it there. -->
# osquery: packs and an extension

osquery sees who holds a packet socket, what runs from where, and what lies in `/run`. It does not see what a socket's
filter waits for; the extension adds that.

| I want to | command |
|---|---|
| see the queries and what they cost | `doorwatch osquery list` |
| read one pack | `doorwatch osquery show sockets` |
| give them to osqueryd | `doorwatch osquery export /etc/osquery/packs` |
| give them to Kibana | `doorwatch setup kibana --url URL --only packs` (see [kibana.md](kibana.md)) |
| see that each query finds what it must | `doorwatch osquery test` |
| add Doorwatch's tables to an osquery | `doorwatch osquery extension --socket /var/osquery/osquery.em` |

## Packs

A pack is a file `osquery_packs/packs/NAME.yml`; beside it, `NAME.proof.yml` holds rows that each query must find and
rows, taken from ordinary software, that it must not. `doorwatch osquery test` runs them in SQLite, which osquery is.
Every table and column is held against osquery's own for Linux when a pack is read. Packs of your own go into a
directory with the same two files each: `doorwatch osquery test --packs DIR`.

In osqueryd's configuration: `{"packs": {"doorwatch-sockets": "/etc/osquery/packs/doorwatch-sockets.conf"}}`.

"""
_COSTS = """\
"A day" is processor time on a host with 500 processes and 6,500 descriptors: an estimate from the files a query makes
osquery read, at 5 microseconds each, right within a small factor. `SELECT name, user_time, system_time FROM
osquery_schedule` tells what they cost on yours. All that run anywhere take about {share} of one core. `inventory`
describes the host, as differences; the others find something. A query runs from the osquery version named.

"""
_LIMITS = """\
## How far this is tried

Each query runs in SQLite on its proof's rows; each table and column is one that osquery's own schema has for Linux; the
extension registers with, and answers, a manager of osquery's Thrift interface. **No osqueryd and no osquery in Elastic
Agent has run them**: the virtual tables' own rules, such as which need a constraint, and the estimate of what a query
costs are to be seen on a host of yours first: `osquery_schedule` has what each took, osqueryd's log what failed.

## What osquery cannot see

- No table holds a socket's filter: `packet_sockets` lists who listens, not what for.
- `process_open_sockets` reads `/proc`: a holder that hides from it leaves a socket without a process, which
  `packet_socket_without_process` reports; a backdoor that hides the socket too is not seen from inside.
- `processes.on_disk` is 0 for programs inside containers. Those are left out by their control group, so a backdoor
  in a container is the container's own osquery's to find.
- `file` has no birth time on Linux (`btime` is 0): time stamps are held against the change time.
- `iptables` reads the legacy tables only; a redirect made by nft is seen by `redirect_was_made` and by Doorwatch.
- Variants without a filter, and filters on sockets that are not packet sockets, need the extension or the hypervisor.

## The extension

It serves three tables from one look at the host, kept for five seconds. It ends when osquery does.

- **As what user?** osquery's socket belongs to root, and so do other users' sockets: run it as root.
- **Started by osquery:** a script `/usr/lib/osquery/extensions/doorwatch.ext`, owned by root and writable by nobody
  else, with `exec doorwatch osquery extension "$@"`, named in `/etc/osquery/extensions.load`.
- **Elastic Agent** starts and guards an osquery of its own; the extension is not tried there. Use Doorwatch's own
  sensors on such hosts.
- Where nothing could be looked at, queries fail with the reason, and `doorwatch_coverage` has a row that says so:
  an empty result is never a failed look.

"""


def render_packs() -> str:
    """The page."""
    packs = load_packs()
    anywhere = tuple(pack for pack in packs if not pack.needs)
    parts: Iterable[str] = chain(
        [_HEAD, _COSTS.format(share=f"{total(anywhere):.2%}")],
        chain.from_iterable(_pack(pack) for pack in packs),
        [_LIMITS],
        chain.from_iterable(_table(table) for table in schema.TABLES),
    )
    return "".join(parts).rstrip("\n") + "\n"


def _pack(pack: Pack) -> Iterator[str]:
    yield f"### {pack.name}\n\n{pack.description}\n"
    if pack.needs:
        yield f"Needs {pack.needs}.\n"
    yield "\n| query | every | severity | ATT&CK | from | a day | a row means |\n|---|---|---|---|---|---|---|\n"
    for name, query in pack.queries.items():
        day = f"{cost(query).seconds_a_day:.0f} s"
        techniques = " ".join(query.techniques)
        why = " ".join(query.why.split()).replace("|", "\\|")
        yield f"| `{name}` | {query.interval} s | {query.severity} | {techniques} | {query.version} | {day} | {why} |\n"
    yield "\n"


def _table(table: schema.Table) -> Iterator[str]:
    yield f"### {table.name}\n\n{table.description}\n\n| column | type | |\n|---|---|---|\n"
    for column in table.columns:
        yield f"| `{column.name}` | {column.type} | {column.description} |\n"
    yield "\n"
