"""Findings for people: most severe first, what one finding combines folded into it, gaps below."""

import re
from collections.abc import Hashable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from beat_bridge.commands.seen import Seen
from beat_bridge.model.base import Reason, Verdict
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.findings import Finding
from beat_bridge.terminal import one_line, print_table

STYLES = {
    Verdict.MALICIOUS: "bold red",
    Verdict.SUSPICIOUS: "bold yellow",
    Verdict.UNKNOWN: "bold magenta",
    Verdict.BENIGN: "green",
}
PAGE = 4096
_NAMED = 20
"""Processes that a group of findings names."""


def print_seen(console: Console, seen: Seen) -> None:
    """What was looked at, what was found, and what could not be checked: the order in which a responder asks.

    Args:
        console: Where to.
        seen: One look; its findings in the order they are to be shown, what another one combines within that.
    """
    inventory, findings = seen.inventory, seen.findings
    _print_look(console, seen)
    kinds = {finding.key: _words(finding.kind) for finding in findings}
    folded = {key for finding in findings for key in finding.related}
    shown = [finding for finding in findings if finding.key not in folded]
    console.print(Text(f"Findings on {one_line(inventory.host.name)}: {_counts(shown) or 'none'}", style="bold"))
    for alike in grouped(shown):
        _print_finding(console, alike, [kinds[key] for key in alike[0].related if key in kinds])
    console.print()
    if inventory.gaps or not inventory.coverage:
        print_table(
            "Not checked",
            ("sensor", "looked", "why, and what to do"),
            [(gap.sensor, gap.status.value, _gap(gap.reason, gap.detail)) for gap in inventory.gaps],
            empty="this inventory does not say what its sensors could see",
            console=console,
        )
        if not findings:
            console.print(Text("Nothing was found where it could look; that is not a clean bill (exit code 3)."))
    else:
        console.print(Text(f"Every sensor looked at everything: {', '.join(c.sensor for c in inventory.coverage)}."))


def _print_look(console: Console, seen: Seen) -> None:
    host, inventory = seen.inventory.host, seen.inventory
    took = f", in {seen.took_seconds:.2f} s" if seen.took_seconds else ""
    still = f" (it stood still for {seen.stood_still_seconds * 1000:.0f} ms)" if seen.stood_still_seconds else ""
    console.print(Text(f"Looked at {one_line(seen.what)}{took}{still}", style="bold"))
    counts = {
        "processes": len(inventory.processes),
        "modules": len(inventory.modules),
        "packet, raw or filtered sockets": len(inventory.sockets),
    }
    counted = ", ".join(f"{number:,} {what}" for what, number in counts.items())
    lines = [f"kernel {one_line(host.kernel_release) or 'unknown'}; {counted}"]
    lines += (_code(entry) for entry in inventory.coverage if entry.sensor == "kernel_text")
    for line in lines:
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2), expand=False))
    console.print()


def _code(entry: Coverage) -> str:
    """What became of the kernel's code, whose objects are pages."""
    if entry.reason is Reason.UNSUPPORTED:
        return "kernel code: NOT compared with the kernel's image; see below what that needs"
    compared = f"kernel code: {entry.examined * PAGE:,} bytes compared with the kernel's image"
    return compared if entry.status is CoverageStatus.COMPLETE else f"{compared}, not all of it: see below"


def grouped(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings that say the same of different processes, together; each group in the place of its first."""
    groups: dict[Hashable, list[Finding]] = {}
    for finding in findings:
        said = (finding.kind, finding.verdict, finding.confidence, finding.techniques)
        texts = (_unnumbered(text, finding) for text in (finding.explanation, *finding.reasons))
        groups.setdefault((said, tuple(texts)), []).append(finding)
    return list(groups.values())


def _unnumbered(text: str, finding: Finding) -> str:
    """What is said without the numbers of the one process and socket it is said of."""
    numbers = [str(finding.process.pid)] if finding.process is not None else []
    numbers += [str(finding.socket.inode)] if finding.socket is not None else []
    return re.sub(rf"\b(?:{'|'.join(numbers)})\b", "N", text) if numbers else text


def _print_finding(console: Console, alike: Sequence[Finding], combined: Sequence[str]) -> None:
    """One finding, or several that say the same: told of the first, with the names of all."""
    finding = alike[0]
    head = Text("\n")
    head.append(finding.verdict.value, style=STYLES[finding.verdict])
    head.append(f"  {_words(finding.kind)}", style="bold")
    head.append(f"  {_subject(finding) if len(alike) == 1 else f'{len(alike)} alike'}  ")
    head.append(f"{finding.confidence:.0%}", style="dim")
    console.print(head)
    lines = [finding.explanation, *(f"· {reason}" for reason in finding.reasons)]
    if combined and finding.judgement is not None:
        lines.insert(1, f"Its filter: {finding.judgement.summary}")
    if combined:
        lines.append(f"Combines: {', '.join(combined)}.")
    if finding.techniques:
        lines.append(f"ATT&CK: {', '.join(finding.techniques)}")
    if len(alike) > 1:
        lines.append(f"All {len(alike)}: {_some([_subject(each) for each in alike])}. Told above of the first.")
    for line in lines:
        console.print(Padding(Text(one_line(line)), (0, 0, 0, 2), expand=False))


def _counts(findings: Sequence[Finding]) -> str:
    verdicts = [finding.verdict for finding in findings]
    return ", ".join(f"{verdicts.count(v)} {v.value}" for v in reversed(Verdict) if v in verdicts)


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _subject(finding: Finding) -> str:
    if finding.process is None:
        return one_line(finding.subject)
    return one_line(f"{finding.process.name} ({finding.process.pid})")


def _gap(reason: object, detail: str) -> str:
    return f"{reason}: {detail}" if reason and detail else detail or str(reason or "not said")
