"""Findings as documents of the data stream logs-doorwatch.finding-*."""

from beat_bridge.ecs import parts
from beat_bridge.ecs.shape import Body, data_stream, finish, merge, moment
from beat_bridge.model.base import Verdict
from beat_bridge.model.documents import Document
from beat_bridge.model.findings import Finding, FindingEvent, FindingKind
from beat_bridge.model.host import Host

_CATEGORY = {
    FindingKind.SOCKET_FILTER: ("intrusion_detection", "network", "process"),
    FindingKind.MASQUERADE: ("intrusion_detection", "process"),
    FindingKind.SHARED_MEMORY_EXECUTION: ("intrusion_detection", "process"),
    FindingKind.ABNORMAL_PID_FILE: ("file", "intrusion_detection"),
    FindingKind.ORPHAN_SOCKET: ("intrusion_detection", "network"),
    FindingKind.KERNEL_HOOK_DRIFT: ("driver", "intrusion_detection"),
    FindingKind.HIDDEN_PROCESS: ("intrusion_detection", "process"),
    FindingKind.HIDDEN_SOCKET: ("intrusion_detection", "network"),
    FindingKind.HIDDEN_MODULE: ("driver", "intrusion_detection"),
    FindingKind.BPF_OBJECT_MISMATCH: ("driver", "intrusion_detection"),
    FindingKind.BACKDOOR_PROCESS: ("intrusion_detection", "malware", "process"),
}
"""ECS event.category; event.type `info` is expected for every one of them."""
_SEVERITY = {Verdict.BENIGN: 1, Verdict.UNKNOWN: 21, Verdict.SUSPICIOUS: 47, Verdict.MALICIOUS: 73}
"""On the scale of Kibana's alerts: 21 low, 47 medium, 73 high, 99 critical."""
_CRITICAL = 99
_CERTAIN = 0.9
"""A malicious finding of this confidence is critical."""


def finding_document(event: FindingEvent, namespace: str = "default", observer: Host | None = None) -> Document:
    """One change of one finding.

    Args:
        event: What changed; its id becomes `_id` and `event.id`.
        namespace: The data stream's namespace.
        observer: The machine that looked, where that is another than the host: the hypervisor.

    Raises:
        DoorwatchError: The namespace is not one.
    """
    finding = event.finding
    body = merge(
        parts.envelope("finding", namespace, event.at, event.id),
        _event_part(event),
        parts.host_part(finding.host),
        parts.observer_part(observer),
        parts.threat_part(finding.techniques),
        _finding_part(event),
        {} if finding.process is None else parts.process_part(finding.process, finding.parent),
        {} if finding.socket is None else parts.socket_part(finding.socket),
        {} if finding.judgement is None else parts.judgement_part(finding.judgement),
        {} if finding.pid_file is None else parts.pid_file_part(finding.pid_file),
        {} if finding.hook is None else parts.hook_part(finding.hook),
        {} if finding.module is None else parts.module_part(finding.module),
        _bpf_part(finding),
    )
    return Document(data_stream=data_stream("finding", namespace), id=event.id, body=finish(body))


def severity(finding: Finding) -> int:
    """1 to 99."""
    if finding.verdict is Verdict.MALICIOUS and finding.confidence >= _CERTAIN:
        return _CRITICAL
    return _SEVERITY[finding.verdict]


def _event_part(event: FindingEvent) -> Body:
    finding = event.finding
    return {
        "message": finding.explanation,
        "event": {
            "category": list(_CATEGORY[finding.kind]),
            "type": ["info"],
            "action": f"finding-{event.change.value}",
            "severity": severity(finding),
            "risk_score": round(100 * finding.confidence, 1),
            "reason": finding.explanation,
            "sequence": event.sequence,
        },
    }


def _finding_part(event: FindingEvent) -> Body:
    finding = event.finding
    return {
        "doorwatch": {
            "finding": {
                "kind": finding.kind.value,
                "verdict": finding.verdict.value,
                "confidence": finding.confidence,
                "key": finding.key,
                "subject": finding.subject,
                "explanation": finding.explanation,
                "reasons": list(finding.reasons),
                "state": event.change.value,
                "standing": None if finding.standing is None else finding.standing.value,
                "first_seen": moment(event.first_seen),
                "related": list(finding.related),
            },
            "view": {
                "seen_by": [finding.viewpoint.value],
                "missing_from": [view.value for view in finding.missing_from],
            },
        }
    }


def _bpf_part(finding: Finding) -> Body:
    """A finding is about one eBPF object at most: the first there is."""
    thing = finding.bpf_program or finding.bpf_map or finding.bpf_link
    return {} if thing is None else parts.bpf_part(thing)
