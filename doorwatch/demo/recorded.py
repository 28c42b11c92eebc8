"""The demo where nothing can be shown live: a recorded look at the emulator, judged for real."""

from datetime import UTC, datetime
from importlib import resources

from beat_bridge.detectors import detect
from beat_bridge.ecs.findings import finding_document
from beat_bridge.model import inventory as inventories
from beat_bridge.model.findings import Change, FindingEvent
from detection_rules import load_rules
from doorwatch.demo.stage import Stage
from responders.playbooks.model import action_of
from responders.playbooks.selection import load_playbooks

RECORDED = "recorded.json"


def tell_recorded(stage: Stage, obstacle: str) -> None:
    """Show what can be shown without namespaces: detectors, words, documents and rules on a recorded inventory.

    Args:
        stage: Where it is shown.
        obstacle: Why the live demo cannot run here.
    """
    stage.act("This machine does not let the demo look live")
    stage.say(obstacle)
    stage.say("what follows is a recorded look at the emulator; nothing is started, isolated or ended")
    recorded = inventories.decode(resources.files("doorwatch.demo").joinpath(RECORDED).read_bytes(), RECORDED)
    findings = detect(recorded)
    stage.act("The detectors judge what was recorded")
    stage.table(
        ("verdict", "kind", "why"),
        [(f.verdict.value, f.kind.value.replace("_", " "), f.explanation) for f in findings],
    )
    stage.say(f"{len(findings)} findings", holds=bool(findings))
    stage.act("Documents and rules")
    now = datetime.now(UTC)
    rules = load_rules()
    fired = set()
    for finding in findings:
        event = FindingEvent(change=Change.OPENED, finding=finding, at=now, first_seen=now, sequence=0)
        fired |= {rule.stem for rule in rules.match(finding_document(event).body)}
    stage.say(f"rules that fired: {', '.join(sorted(fired))}", holds=bool(fired))
    stage.act("What the responder would do")
    playbook = load_playbooks()[0]
    stage.say(f"{playbook.name}: {' > '.join(action_of(step).replace('_', ' ') for step in playbook.steps)}")
