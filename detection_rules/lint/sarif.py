"""Remarks in SARIF 2.1.0, which code hosts and editors show beside the line."""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from detection_rules.lint import CHECKS
from detection_rules.lint.remarks import Remark


def sarif(remarks: Iterable[Remark], root: Path) -> dict[str, Any]:
    """One run of the lint.

    Args:
        remarks: What it said.
        root: Files under it are named relative to it, as code hosts want them.
    """
    checks = [
        {
            "id": check.name,
            "shortDescription": {"text": check.recommendation},
            "defaultConfiguration": {"level": check.level},
        }
        for check in CHECKS
    ]
    numbers = {check.name: number for number, check in enumerate(CHECKS)}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "doorwatch rules lint", "version": version("doorwatch"), "rules": checks}},
                "results": [_result(remark, numbers[remark.check], root) for remark in remarks],
            }
        ],
    }


def _result(remark: Remark, number: int, root: Path) -> dict[str, Any]:
    path = Path(remark.file).resolve()
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return {
        "ruleId": remark.check,
        "ruleIndex": number,
        "level": remark.level,
        "message": {"text": f"{remark.problem}; {remark.recommendation}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": shown.as_posix()},
                    "region": {"startLine": remark.line},
                }
            }
        ],
    }
