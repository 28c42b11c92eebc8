"""What the responder did as documents of the data stream logs-doorwatch.response-*."""

from beat_bridge.ecs import parts
from beat_bridge.ecs.shape import Body, data_stream, digest, finish, merge, moment
from beat_bridge.model.documents import Document
from beat_bridge.model.responses import ResponseStep, StepState

_OUTCOME = {
    StepState.SUCCEEDED: "success",
    StepState.RENEWED: "success",
    StepState.RELEASED: "success",
    StepState.EXPIRED: "success",
    StepState.FAILED: "failure",
    StepState.REFUSED: "failure",
}
"""ECS event.outcome; `unknown` for the rest, which have not ended or did nothing."""
_EFFECT = {
    # action: (category, type) once it has taken effect
    "capture_evidence": ("host", "access"),
    "stop_process": ("process", "end"),
    "isolate_network": ("network", "denied"),
}


def response_document(step: ResponseStep, namespace: str = "default") -> Document:
    """One step of a response.

    Args:
        step: What was done, refused or undone.
        namespace: The data stream's namespace.

    Raises:
        DoorwatchError: The namespace is not one.
    """
    name = digest(step.incident, str(step.sequence), step.action, step.state.value, moment(step.at))
    body = merge(
        parts.envelope("response", namespace, step.at, name),
        parts.host_part(step.host),
        _event_part(step),
        _target_part(step),
        _response_part(step),
    )
    return Document(data_stream=data_stream("response", namespace), id=name, body=finish(body))


def _event_part(step: ResponseStep) -> Body:
    category, effect = _EFFECT.get(step.action, ("host", "info"))
    opened = step.incident_opened_at
    return {
        "message": f"{step.action} {step.state.value}: {step.explanation}".removesuffix(": "),
        "event": {
            "category": [category],
            "type": [effect if step.state is StepState.SUCCEEDED else "info"],
            "action": f"response-{step.state.value}".replace("_", "-"),
            "outcome": _OUTCOME.get(step.state, "unknown"),
            "reason": step.explanation,
            "sequence": step.sequence,
            "start": None if opened is None else moment(opened),
            # a clock that was set back must not make a response end before it began
            "duration": None if opened is None else max(0, round((step.at - opened).total_seconds() * 1e9)),
        },
    }


def _target_part(step: ResponseStep) -> Body:
    target = step.target
    return {
        "process": {"pid": target.pid, "executable": target.executable, "name": target.process_name},
        "doorwatch": {"process": {"start_ticks": target.start_ticks, "network_namespace": target.network_namespace}},
    }


def _response_part(step: ResponseStep) -> Body:
    expires = step.lease_expires_at
    return {
        "doorwatch": {
            "response": {
                "id": step.response_id,
                "incident": step.incident,
                "action": step.action,
                "state": step.state.value,
                "lease": {"expires_at": None if expires is None else moment(expires)},
                "proof": step.proof,
                "playbook": step.playbook,
                "explanation": step.explanation,
                "evidence": list(step.evidence),
                "alert_ids": list(step.alert_ids),
                "rules": list(step.rule_names),
                "finding_keys": list(step.finding_keys),
                "audit_hash": step.audit_hash,
            }
        }
    }
