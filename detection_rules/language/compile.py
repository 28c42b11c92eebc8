"""One way in for every language a rule may be written in."""

from beat_bridge.errors import DoorwatchError
from detection_rules.language import eql, eql_ast, eql_compile, kql, kql_compile
from detection_rules.language.errors import QueryError
from detection_rules.language.fields import Predicate
from detection_rules.language.sequence_plan import Plan, plan_of

LANGUAGES = ("kuery", "eql")


def compile_query(text: str, language: str = "kuery") -> Predicate:
    """Compile a query about one document into a function that says whether a document matches.

    Args:
        text: The query.
        language: `kuery` (KQL) or `eql`, as a rule file spells them.

    Returns:
        A function over a decoded JSON object. It never fails, whatever the document holds.

    Raises:
        QueryError: The query is malformed or uses something unsupported, or is a sequence or a sample; the line names
            it and its place.
        DoorwatchError: The language is another one.
    """
    if language == "kuery":
        return kql_compile.compile_query(kql.parse(text))
    if language == "eql":
        return eql_compile.compile_query(eql.parse(text))
    raise _unknown(language)


def compile_sequence(text: str) -> Plan:
    """Compile an EQL sequence or sample.

    Returns:
        A plan: give it to a `Matcher`, which is fed documents as they arrive, or with documents to `match_all`.

    Raises:
        QueryError: As `compile_query`, and for an event query.
    """
    compiled = compile_rule_query(text, "eql")
    if not isinstance(compiled, Plan):
        raise QueryError("an event query where a sequence or a sample is wanted", 1, 1)
    return compiled


def compile_rule_query(text: str, language: str) -> Predicate | Plan:
    """Compile whatever a rule may hold: a plan for an EQL sequence or sample, a function over a document otherwise.

    Raises:
        QueryError: As `compile_query`.
        DoorwatchError: As `compile_query`.
    """
    if language != "eql":
        return compile_query(text, language)
    query = eql.parse_query(text)
    return eql_compile.compile_query(query) if isinstance(query, eql_ast.EventQuery) else plan_of(query)


def _unknown(language: str) -> DoorwatchError:
    return DoorwatchError(f"the query language `{language}` is not supported: write {' or '.join(LANGUAGES)}")
