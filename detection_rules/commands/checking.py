"""`doorwatch rules test` and `doorwatch rules lint`: does a rule do what it says, and is it well made?"""

from pathlib import Path

import click

from beat_bridge.terminal import format_option, print_json_lines, print_table
from detection_rules.commands.loading import Directories, load, rules_option
from detection_rules.lint import lint_all
from detection_rules.lint.sarif import sarif
from detection_rules.mutation import ENOUGH, Outcome, mutate
from detection_rules.proof import prove, read_proof


@click.command("test")
@rules_option
@click.option("--mutants/--no-mutants", default=True, help="Also change the rules in small ways that must be noticed.")
@format_option
@click.pass_context
def test_rules(context: click.Context, directories: Directories, mutants: bool, output: str) -> None:
    """Hold each rule against the documents beside it, and the documents against small changes of the rule.

    Exit code 1 when a document is treated otherwise than it must be, or when more than one change in twenty is noticed
    by no document.
    """
    proofs = [(rule, read_proof(rule)) for rule in load(directories)]
    failures = [failure for rule, proof in proofs for failure in prove(rule, proof)]
    failed = {failure.rule for failure in failures}
    outcomes = {rule.stem: mutate(rule, proof) for rule, proof in proofs if mutants and rule.stem not in failed}
    weak = [outcome for outcome in outcomes.values() if outcome.killed < ENOUGH]
    if output == "json":
        print_json_lines([*failures, *(_told(outcome) for outcome in outcomes.values() if outcome.survivors)])
    else:
        print_table(
            "Rules",
            ("rule", "must match", "must not", "mutants", "killed", ""),
            [
                (
                    rule.stem,
                    str(len(proof.must_match)),
                    str(len(proof.must_not_match)),
                    *_counts(outcomes.get(rule.stem)),
                    "FAILED" if rule.stem in failed else "WEAK" if outcomes.get(rule.stem) in weak else "holds",
                )
                for rule, proof in proofs
            ],
        )
        for failure in failures:
            click.echo(f"{failure.rule}: {failure.expected} expected of document {failure.index}: {failure.why}")
        for outcome in outcomes.values():
            for survivor in outcome.survivors:
                click.echo(f"{outcome.rule}: no document notices: {survivor}")
    context.exit(1 if failures or weak else 0)


@click.command("lint")
@rules_option
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json", "sarif"]),
    default="table",
    show_default=True,
    help="Lines for people, one JSON object a line, or SARIF for code hosts and editors.",
)
@click.pass_context
def lint_rules(context: click.Context, directories: Directories, output: str) -> None:
    """What is questionable about the rules; exit code 1 when something is wrong rather than doubtful."""
    remarks = lint_all(load(directories))
    if output == "json":
        print_json_lines(remarks)
    elif output == "sarif":
        print_json_lines([sarif(remarks, Path.cwd())])
    else:
        for remark in remarks:
            place = f"{remark.file}:{remark.line}: {remark.level}: {remark.check}"
            click.echo(f"{place}: {remark.problem}; {remark.recommendation}")
        errors = sum(remark.level == "error" for remark in remarks)
        click.echo(f"{errors} errors, {len(remarks) - errors} warnings")
    context.exit(1 if any(remark.level == "error" for remark in remarks) else 0)


def _counts(outcome: Outcome | None) -> tuple[str, str]:
    return ("-", "-") if outcome is None else (str(outcome.mutants), f"{100 * outcome.killed:.0f}%")


def _told(outcome: Outcome) -> dict[str, object]:
    return {
        "rule": outcome.rule,
        "mutants": outcome.mutants,
        "killed": round(outcome.killed, 4),
        "survivors": outcome.survivors,
    }
