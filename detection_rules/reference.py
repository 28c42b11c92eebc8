"""What the languages can say and what the lint asks, as tables made from the code."""

from collections.abc import Iterable

from detection_rules.language.eql import REFUSED, REFUSED_QUERIES
from detection_rules.language.eql_ast import UNITS, Comparator, Matcher, Operator
from detection_rules.language.eql_functions import FUNCTIONS, Signature
from detection_rules.language.eql_sequences import MOST_RUNS
from detection_rules.language.parsing import MAX_CHARACTERS, MAX_DEPTH
from detection_rules.lint import CHECKS

_SEQUENCE = (
    "`sequence by host.id, ?user.id with maxspan=15m [a where ...] by x with runs=3 ![b where ...] by y "
    "[c where ...] by z until [d where ...] by x`"
)


def render_language() -> str:
    """EQL's operators, functions and refusals in Markdown (docs/rules.md holds it; a test compares)."""
    rows = [
        ("comparisons", _code(Comparator)),
        ("patterns and lists", f"{_code(Matcher)} `in` `in~` `not in` `not in~`"),
        ("arithmetic", _code(Operator)),
        ("logic", "`and` `or` `not` `( )`"),
        ("fields", "`process.name` `` `odd name` `` `?optional.field`"),
        ("constants", '`"text"` `"""raw"""` `1` `2.5` `true` `false` `null`'),
        ("comments", "`// ...` `/* ... */`"),
        (
            "sequences",
            f"{_SEQUENCE}; units {_code(UNITS)}; runs up to {MOST_RUNS}",
        ),
        ("samples", "`sample by host.id [a where ...] [b where ...] by x`"),
        ("functions", " ".join(f"`{_signature(signature)}`" for signature in FUNCTIONS.values())),
        ("refused by name", "; ".join([*(f"`{word}` queries" for word in REFUSED_QUERIES), *(n for _, n in REFUSED)])),
        ("bounds", f"{MAX_CHARACTERS:,} characters, {MAX_DEPTH} levels of nesting"),
    ]
    return "\n".join(["| EQL | |", "|---|---|", *(f"| {name} | {_cell(text)} |" for name, text in rows)]) + "\n"


def render_checks() -> str:
    """The lint's checks in Markdown (docs/rules.md holds it; a test compares)."""
    rows = (f"| `{check.name}` | {check.level} | {_cell(check.recommendation)} |" for check in CHECKS)
    return "\n".join(["| check | level | what to do |", "|---|---|---|", *rows]) + "\n"


def _code(words: Iterable[str]) -> str:
    return " ".join(f"`{word}`" for word in words)


def _signature(signature: Signature) -> str:
    shown = [signature.parameters[min(i, len(signature.parameters) - 1)] for i in range(min(signature.most, 4))]
    required = ", ".join(shown[: signature.least])
    optional = "".join(f"[, {kind}]" for kind in shown[signature.least :][:1])
    more = ", ..." if signature.most > 4 else ""
    return f"{signature.name}{'[~]' if signature.insensitive else ''}({required}{optional}{more})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
