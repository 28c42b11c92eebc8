"""EQL event queries as functions over documents.

The rule for fields with several values, and for missing ones, is Elasticsearch's own (its query translator's tests,
x-pack/plugin/eql/src/test/resources/querytranslator_tests.txt, since elastic/elasticsearch#76610):

* A condition - one comparison, list, pattern or function - holds when it holds for **any** value of its field.
* One over several fields (a function, arithmetic) holds when any values, one of each field, make it hold.
* `not`, `!=` and `not in` are the exact opposite: they hold when it holds for **no** value, and so also when the field
  is missing (Elasticsearch says `must_not`). `field == null` holds exactly when there is no value.
* Within a condition a missing value is null; null makes every function null, and null is never true.
"""

from collections.abc import Callable, Mapping
from itertools import islice, product
from operator import itemgetter
from typing import Any, Final

from detection_rules.language import eql_ast as ast
from detection_rules.language.conditions import any_text, any_value, any_value_or_null, every, one_of, opposite, some
from detection_rules.language.eql_functions import FUNCTIONS
from detection_rules.language.eql_kinds import is_condition, paths
from detection_rules.language.fields import Document, Predicate, fetcher, reader
from detection_rules.language.patterns import wildcards
from detection_rules.language.regular_expressions import compile_expressions
from detection_rules.language.values import Test, as_boolean, as_instant, as_number, as_text, equals, is_date, ordered

Compute = Callable[[Any], Any]
"""From the value of a condition's only field (None where it is missing), or from those of several, to a result."""
Places = Mapping[str, int]
"""Where among several values that of a field stands; empty where the condition has only one field."""
_ONLY: Final[Places] = {}
COMBINATIONS: Final = 1_000_000
"""Values of several fields that one condition looks at together: arrays of hostile length must not stall a rule."""
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ARITHMETIC = {
    ast.Operator.ADD: "add",
    ast.Operator.SUBTRACT: "subtract",
    ast.Operator.MULTIPLY: "multiply",
    ast.Operator.DIVIDE: "divide",
    ast.Operator.MODULO: "modulo",
}


def compile_query(query: ast.EventQuery) -> Predicate:
    """Compile a query once; the function may be called with any number of documents."""
    condition = _condition(query.condition)
    if query.category is None:
        return condition
    return every([of_category(query.category), condition])


def of_category(category: str) -> Predicate:
    """Whether an event is of a category."""
    return any_value(fetcher("event.category"), lambda value: bool(value == category))


def _condition(node: ast.Expression) -> Predicate:  # noqa: PLR0911 - one return for each kind of node
    match node:
        case ast.And():
            return every([_condition(operand) for operand in node.operands])
        case ast.Or():
            return some([_condition(operand) for operand in node.operands])
        case ast.Not():
            return opposite(_condition(node.operand))
        case ast.Comparison():
            return _comparison(node)
        case ast.Membership():
            held = _membership(node)
            return opposite(held) if node.negated else held
        case ast.Matching(ast.Field(path)):
            return any_text(path, _patterns(node))
        case ast.Matching():
            matches = _patterns(node)
            return _over(node.value, lambda value: (text := as_text(value)) is not None and matches(text))
        case _:
            return _over(node, lambda value: as_boolean(value) is True)


def _comparison(node: ast.Comparison) -> Predicate:
    left, comparator, right = node.left, node.comparator.value, node.right
    if not paths(left) and paths(right):
        left, right, comparator = right, left, _MIRRORED.get(comparator, comparator)
    if comparator == "!=":
        return opposite(_comparison(ast.Comparison(left, ast.Comparator.EQUAL, right)))
    if isinstance(left, ast.Literal) and is_condition(right):
        left, right = right, left
    if is_condition(left):
        # `f(x) == false` is Elasticsearch's way to write `not f(x)`, and means the same
        wanted = isinstance(right, ast.Literal) and right.value
        return _condition(left) if wanted else opposite(_condition(left))
    constant = _compute(right)(None)
    if constant is None:
        return _over(left, lambda value: value is None) if comparator == "==" else _never
    if isinstance(left, ast.Field) and comparator == "==" and isinstance(constant, str) and not is_date(constant):
        return one_of(left.path, frozenset({constant}))
    test: Test = equals(constant) if comparator == "==" else ordered(comparator, constant)
    if isinstance(left, ast.Field):
        return any_value(fetcher(left.path), test)
    return _over(left, lambda value: value is not None and test(value))


def _never(_document: Document) -> bool:
    return False


def _membership(node: ast.Membership) -> Predicate:
    constants = [choice.value for choice in node.choices if choice.value is not None]
    if node.insensitive:
        folded = frozenset(str(constant).lower() for constant in constants)
        return _over(node.value, lambda value: (text := as_text(value)) is not None and text.lower() in folded)
    texts = frozenset(constant for constant in constants if isinstance(constant, str))
    tests = [equals(constant) for constant in constants if not isinstance(constant, str) or as_instant(constant)]
    if not tests and isinstance(node.value, ast.Field):
        return one_of(node.value.path, texts)
    return _over(
        node.value,
        lambda value: value is not None and (as_text(value) in texts or any(test(value) for test in tests)),
    )


def _patterns(node: ast.Matching) -> Callable[[str], bool]:
    insensitive = node.matcher is not ast.Matcher.LIKE and node.matcher is not ast.Matcher.REGEX
    if node.matcher in (ast.Matcher.REGEX, ast.Matcher.REGEX_INSENSITIVE):
        return compile_expressions(node.patterns, ignore_case=insensitive)
    return wildcards(node.patterns, ignore_case=insensitive)


def _over(node: ast.Expression, test: Test) -> Predicate:
    """Hold when some value of the expression's field, or fields, makes it pass the test."""
    fields = paths(node)
    compute = None if isinstance(node, ast.Field) else _compute(node)
    if not fields:
        outcome = test(_compute(node)(None))
        return lambda document: outcome  # noqa: ARG005 - a constant condition reads no document
    if len(fields) > 1:
        return _any_combination(fields, _after(_compute(node, {path: at for at, path in enumerate(fields)}), test))
    passes = test if compute is None else _after(compute, test)
    return any_value_or_null(fetcher(fields[0]), passes)


def _any_combination(fields: list[str], passes: Test) -> Predicate:
    """Hold when some values of several fields, one of each, pass together."""
    readers = [reader(path) for path in fields]

    def holds(document: Document) -> bool:
        columns = [read(document) or [None] for read in readers]
        return any(passes(values) for values in islice(product(*columns), COMBINATIONS))

    return holds


def _after(compute: Compute, test: Test) -> Test:
    return lambda value: test(compute(value))


def _compute(node: ast.Expression, places: Places = _ONLY) -> Compute:
    match node:
        case ast.Literal():
            constant = node.value
            return lambda _value: constant
        case ast.Field():
            return itemgetter(places[node.path]) if places else lambda value: value
        case ast.Negative():
            operand = _number(node.operand, places)
            return lambda value: None if (number := operand(value)) is None else -number
        case ast.Arithmetic():
            left, right = _number(node.left, places), _number(node.right, places)
            operate = FUNCTIONS[_ARITHMETIC[node.operator]].call
            return lambda value: operate(left(value), right(value))
        case ast.Function():
            return _call(node, places)
        case _:
            raise AssertionError(f"the parser lets no {type(node).__name__} stand for a value")


def _number(node: ast.Expression, places: Places) -> Compute:
    inner = _compute(node, places)
    return (lambda value: as_number(inner(value))) if isinstance(node, ast.Field) else inner


def _call(node: ast.Function, places: Places) -> Compute:
    signature = FUNCTIONS[node.name.lower()]
    kinds = [signature.parameters[min(i, len(signature.parameters) - 1)] for i in range(len(node.arguments))]
    arguments = [
        _number(argument, places) if kind == "number" else _compute(argument, places)
        for kind, argument in zip(kinds, node.arguments, strict=True)
    ]
    call = signature.call
    if not signature.insensitive:
        return lambda value: call(*[argument(value) for argument in arguments])
    ignore_case = node.insensitive
    return lambda value: call(*[argument(value) for argument in arguments], ignore_case=ignore_case)
