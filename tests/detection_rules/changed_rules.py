"""A shipped rule with one thing changed, in a directory of its own."""

import shutil
from pathlib import Path

from detection_rules.rule_set import SHIPPED, Rule, RuleSet, load_rules


def changed(
    directory: Path, stem: str, *replacements: tuple[str, str], documents: tuple[tuple[str, str], ...] = ()
) -> Rule:
    """Load a copy of a shipped rule in which texts were replaced.

    Args:
        directory: Where the copy is to lie.
        stem: Which rule.
        replacements: (old, new) for its TOML; each old text must be there.
        documents: The same for the documents beside it.
    """
    for path in SHIPPED.glob(f"{stem}.*"):
        shutil.copy(path, directory)
    for name, pairs in ((f"{stem}.toml", replacements), (f"{stem}.documents.json", documents)):
        text = (directory / name).read_text("utf-8")
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        (directory / name).write_text(text, "utf-8")
    return next(rule for rule in rules_in(directory) if rule.stem == stem)


def rules_in(directory: Path) -> RuleSet:
    """The rules of a directory."""
    return load_rules([directory])
