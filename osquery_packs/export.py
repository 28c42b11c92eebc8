"""Packs in osquery's own JSON form, as osqueryd, Fleet managers and configuration tools read them."""

import json
from typing import Any

from osquery_packs.model import Pack


def pack_body(pack: Pack) -> dict[str, Any]:
    """One pack: what stands under its name in `packs`, and what a pack file of its own holds."""
    body: dict[str, Any] = {"platform": pack.platform, "version": pack.version}
    if pack.discovery:
        body["discovery"] = list(pack.discovery)
    body["queries"] = {
        name: {
            # on one line: osquery's own documentation warns of line breaks in a query
            "query": " ".join(line.strip() for line in query.sql.splitlines()).strip() + ";",
            "interval": query.interval,
            "snapshot": query.snapshot,
            "platform": pack.platform,
            "version": query.version,
            "description": query.why,
            "value": f"{query.severity}: {', '.join(query.techniques)}",
        }
        for name, query in pack.queries.items()
    }
    return body


def pack_text(pack: Pack) -> str:
    """The pack file, ending with a line break."""
    return json.dumps(pack_body(pack), indent=2, ensure_ascii=False) + "\n"
