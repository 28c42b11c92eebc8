"""Findings for people: most severe first, what one finding combines folded into it, gaps below."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from beat_bridge.model.base import Verdict
from beat_bridge.model.findings import Finding
from beat_bridge.model.inventory import Inventory
from beat_bridge.terminal import print_table, printable

STYLES = {
    Verdict.MALICIOUS: "bold red",
    Verdict.SUSPICIOUS: "bold yellow",
    Verdict.UNKNOWN: "bold magenta",
    Verdict.BENIGN: "green",
}


def print_findings(inventory: Inventory, findings: Sequence[Finding]) -> None:
    """What was found on a host, and what could not be checked, on standard output.

    Args:
        inventory: The look.
        findings: In the order they are to be shown; those that another one combines are shown within it.
    """
    console = Console(highlight=False)
    kinds = {finding.key: _words(finding.kind) for finding in findings}
    folded = {key for finding in findings for key in finding.related}
    console.print(Text(f"Findings on {printable(inventory.host.name)}: {_counts(findings) or 'none'}", style="bold"))
    for finding in findings:
        if finding.key not in folded:
            _print_finding(console, finding, [kinds[key] for key in finding.related if key in kinds])
    console.print()
    if inventory.gaps or not inventory.coverage:
        print_table(
            "Not checked",
            ("sensor", "looked", "why, and what to do"),
            [(gap.sensor, gap.status.value, _gap(gap.reason, gap.detail)) for gap in inventory.gaps],
            empty="this inventory does not say what its sensors could see",
        )
    else:
        console.print(Text(f"Every sensor looked at everything: {', '.join(c.sensor for c in inventory.coverage)}."))


def _print_finding(console: Console, finding: Finding, combined: Sequence[str]) -> None:
    head = Text("\n")
    head.append(finding.verdict.value, style=STYLES[finding.verdict])
    head.append(f"  {_words(finding.kind)}", style="bold")
    head.append(f"  {_subject(finding)}  ")
    head.append(f"{finding.confidence:.0%}", style="dim")
    console.print(head)
    lines = [finding.explanation, *(f"· {reason}" for reason in finding.reasons)]
    if combined and finding.judgement is not None:
        lines.insert(1, f"Its filter: {finding.judgement.summary}")
    if combined:
        lines.append(f"Combines: {', '.join(combined)}.")
    if finding.techniques:
        lines.append(f"ATT&CK: {', '.join(finding.techniques)}")
    for line in lines:
        console.print(Padding(Text(printable(line)), (0, 0, 0, 2), expand=False))


def _counts(findings: Sequence[Finding]) -> str:
    verdicts = [finding.verdict for finding in findings]
    return ", ".join(f"{verdicts.count(v)} {v.value}" for v in reversed(Verdict) if v in verdicts)


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _subject(finding: Finding) -> str:
    if finding.process is None:
        return printable(finding.subject)
    return printable(f"{finding.process.name} ({finding.process.pid})")


def _gap(reason: object, detail: str) -> str:
    return f"{reason}: {detail}" if reason and detail else detail or str(reason or "not said")
