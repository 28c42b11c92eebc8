"""One finding, response and heartbeat with every field filled, and the documents they become."""

from datetime import timedelta
from typing import Any

from beat_bridge.ecs.findings import finding_document
from beat_bridge.ecs.heartbeats import heartbeat_document
from beat_bridge.ecs.inventories import inventory_documents
from beat_bridge.ecs.responses import response_document
from beat_bridge.model.base import Reason, Unavailable, Verdict, Viewpoint
from beat_bridge.model.bridge import BridgeStatus, GuestStatus, SpoolStatus
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.documents import Document
from beat_bridge.model.filters import FilterJudgement, Magic
from beat_bridge.model.findings import Change, Finding, FindingEvent, FindingKind, Standing
from beat_bridge.model.host import Host
from beat_bridge.model.kernel import BpfLink, BpfMap, BpfProgram
from beat_bridge.model.processes import Environment
from beat_bridge.model.responses import ResponseStep, ResponseTarget, StepState
from tests.inventories.builders import HOST, NOON, bpfdoor, hook, inventory, module, pid_file, process

HYPERVISOR = Host(id="5d41402abc4b2a76b9719d911017c592", name="hypervisor-1", boot_id="another-boot")
"""The machine that looks at HOST from outside."""


def finding(**changes: Any) -> Finding:
    """A finding about a BPFDoor process."""
    seen = bpfdoor()
    fields: dict[str, Any] = {
        "kind": FindingKind.BACKDOOR_PROCESS,
        "host": HOST,
        "viewpoint": Viewpoint.HOST,
        "subject": "process:812:81200",
        "verdict": Verdict.MALICIOUS,
        "confidence": 0.99,
        "explanation": "Process 812 waits for a secret packet.",
        "reasons": ("its filter demands udp[8:2] = 0x7255",),
        "techniques": ("T1036.005", "T1205.002", "T1564"),
        "process": seen.processes[0],
        "parent": process(1, "/usr/lib/systemd/systemd"),
        "socket": seen.sockets[0],
        "judgement": FilterJudgement(
            verdict=Verdict.MALICIOUS,
            summary="Accepts UDP that begins with rU.",
            magic=(Magic(protocol="udp", offset=8, width=2, value=0x7255),),
            family="BPFDoor",
            protocols=("udp",),
            paths=("udp[8:2] = 0x7255",),
            reasons=("demands a secret",),
        ),
        "pid_file": seen.pid_files[0],
        "hook": hook(owner="evil"),
        "related": ("0f9d",),
    }
    return Finding(**{**fields, **changes})


def hidden_module() -> Finding:
    """A module that the guest does not show and the view from outside does."""
    return Finding(
        kind=FindingKind.HIDDEN_MODULE,
        host=HOST,
        viewpoint=Viewpoint.HYPERVISOR,
        subject="module:evil",
        verdict=Verdict.MALICIOUS,
        confidence=0.95,
        explanation="Kernel module evil is there, and the view from inside does not show it.",
        reasons=("the view from outside shows it before and after the view from inside",),
        techniques=("T1014",),
        module=module("evil"),
        missing_from=(Viewpoint.HOST,),
        standing=Standing.CONFIRMED,
    )


def event(changed: Finding | None = None, **changes: Any) -> FindingEvent:
    """The finding when it opens."""
    fields: dict[str, Any] = {
        "change": Change.OPENED,
        "finding": finding() if changed is None else changed,
        "at": NOON,
        "first_seen": NOON,
        "sequence": 0,
    }
    return FindingEvent(**{**fields, **changes})


def step(**changes: Any) -> ResponseStep:
    """A network isolation that took effect."""
    fields: dict[str, Any] = {
        "response_id": "9d0c-isolate_network",
        "incident": "9d0c",
        "action": "isolate_network",
        "state": StepState.SUCCEEDED,
        "at": NOON,
        "incident_opened_at": NOON - timedelta(seconds=2.5),
        "sequence": 1,
        "host": HOST,
        "playbook": "bpfdoor",
        "target": ResponseTarget(
            pid=812, start_ticks=81200, executable="/x", process_name="udevd", network_namespace=7
        ),
        "explanation": "isolated for one hour",
        "lease_expires_at": NOON,
        "proof": "no packet passed",
        "evidence": ("/var/lib/doorwatch/evidence/9d0c.tar",),
        "alert_ids": ("a",),
        "rule_names": ("BPF on a raw socket",),
        "finding_keys": ("0f9d",),
        "audit_hash": "00ff",
    }
    return ResponseStep(**{**fields, **changes})


def documents() -> list[Document]:
    """Documents of every kind with every field filled."""
    seen = inventory(
        *bpfdoor().processes,
        *bpfdoor().sockets,
        module(),
        BpfProgram(
            id=42,
            name="count_packets",
            type="socket_filter",
            tag="6deef7357e7b4530",
            map_ids=(7,),
            seen_by=("prog_idr",),
        ),
        BpfMap(id=7, name="counts", type="hash"),
        BpfLink(id=3, type="tracing", program_id=42),
        coverage=(
            Coverage(
                sensor="socket_filters",
                status=CoverageStatus.PARTIAL,
                reason=Reason.REFUSED,
                detail="ptrace_scope is 3",
                examined=2,
                missed=1,
            ),
        ),
    )
    nobody = process(5, "/x", user_id=Unavailable(reason=Reason.REFUSED, detail="EPERM"))
    long = process(6, "/x", ("x" * 9000,))
    shell = process(8, "/x", seen_by=("pid_table",), environment=Environment(count=3, signs=("HISTFILE=/dev/null",)))
    return [
        finding_document(event()),
        finding_document(event(finding(process=nobody, parent=None), sequence=1)),
        finding_document(event(finding(process=long), sequence=2)),
        finding_document(event(finding(process=shell), sequence=3)),
        finding_document(
            event(finding(pid_file=pid_file(size=3, content="abc", open_by=(5,), locked_by=(5,))), sequence=4)
        ),
        finding_document(event(hidden_module(), sequence=5), observer=HYPERVISOR),
        *inventory_documents(seen),
        heartbeat_document(
            HOST,
            BridgeStatus(
                spool=SpoolStatus(), last_error="refused", guests=(GuestStatus(name="web-1", last_error="off"),)
            ),
            NOON,
        ),
        response_document(step()),
    ]
