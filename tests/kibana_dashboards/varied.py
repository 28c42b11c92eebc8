"""Many documents like the lab's, more various than the lab is: the same for the same seed."""

import copy
import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from beat_bridge.model.findings import Change, FindingKind
from beat_bridge.model.responses import StepState
from kibana_dashboards.dashboards.evaluate import Span, at
from kibana_dashboards.pictures import recorded_documents

COUNT = 600
_VERDICTS = ("benign", "unknown", "suspicious", "malicious")
_STATES = [state.value for state in StepState]
_KINDS = [kind.value for kind in FindingKind]


def documents(seed: int) -> tuple[Sequence[Mapping[str, Any]], Span]:
    """Documents with moments of their own to the millisecond, and a span that leaves some of them out."""
    chance = random.Random(seed)  # noqa: S311 - the same documents in every run
    begin = at(recorded_documents()[0]).replace(microsecond=0)
    made = [_varied(copy.deepcopy(dict(chance.choice(recorded_documents()))), chance) for _ in range(COUNT)]
    for number, document in enumerate(made):
        # distinct to the millisecond, as far as the server sorts them
        moment = begin + timedelta(milliseconds=1013 * number)
        document["@timestamp"] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        document["event"]["id"] = f"{seed}-{number}"
    end = begin + timedelta(milliseconds=1013 * (COUNT - 20))
    return made, Span(begin=begin + timedelta(seconds=30), end=end, bars=timedelta(seconds=30))


def _varied(document: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    host = chance.randrange(14)
    document["host"] |= {"id": f"{host:032x}", "name": f"host-{host % 9}"}
    own = document["doorwatch"]
    if "finding" in own:
        own["finding"] |= {
            "key": f"key-{chance.randrange(60)}",
            "kind": chance.choice(_KINDS),
            "verdict": chance.choice(_VERDICTS),
            "state": chance.choice(list(Change)).value,
            "subject": f"process:{chance.randrange(80)}:1",
        }
        own["view"] = {"seen_by": chance.sample(["host", "agent", "hypervisor"], 2), "missing_from": ["agent"]}
    if "filter" in own and chance.random() < 0.5:
        own["filter"] |= {"sha256": f"{chance.randrange(30):064x}", "kind": chance.choice(["classic", "unknown"])}
    if "coverage" in own:
        own["coverage"] |= {"status": chance.choice(["complete", "partial", "none"]), "missed": chance.randrange(5)}
    if "bridge" in own:
        own["bridge"]["open_findings"] = chance.randrange(9)
    if "response" in own:
        own["response"] |= {"state": chance.choice(_STATES), "id": f"response-{chance.randrange(40)}"}
        own["response"]["rules"] = chance.sample(["one", "two", "three", "four"], chance.randrange(4))
        document["event"]["duration"] = chance.randrange(10**12)
        if chance.random() < 0.3:
            own["response"].pop("lease", None)
    if "process" in document and chance.random() < 0.3:
        document["process"].pop("executable", None)
    return document
