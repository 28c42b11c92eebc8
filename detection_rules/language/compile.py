"""One way in for every language a rule may be written in."""

from beat_bridge.errors import DoorwatchError
from detection_rules.language import eql, eql_compile, kql, kql_compile
from detection_rules.language.fields import Predicate

LANGUAGES = ("kuery", "eql")


def compile_query(text: str, language: str = "kuery") -> Predicate:
    """Compile a query into a function that says whether a document matches.

    Args:
        text: The query.
        language: `kuery` (KQL) or `eql`, as a rule file spells them.

    Returns:
        A function over a decoded JSON object. It never fails, whatever the document holds.

    Raises:
        QueryError: The query is malformed or uses something unsupported; the line names it and its place.
        DoorwatchError: The language is another one.
    """
    if language == "kuery":
        return kql_compile.compile_query(kql.parse(text))
    if language == "eql":
        return eql_compile.compile_query(eql.parse(text))
    raise DoorwatchError(f"the query language `{language}` is not supported: write {' or '.join(LANGUAGES)}")
