"""What EQL queries mean, held against Elastic's documentation and an independent, naive evaluator."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_rules.language import compile_query, eql_compile

PROCESS: dict[str, Any] = {
    "event": {"category": ["process"], "type": ["start"]},
    "process": {
        "name": "regsvr32.exe",
        "args": ["C:\\Windows\\regsvr32.exe", "/s", "x.dll"],
        "args_count": 4,
        "parent": {"args_count": 2},
        "command_line": "start regsvr32.exe",
    },
    "file": {"path": "C:\\Windows\\System32\\cmd.exe"},
    "source": {"address": "192.168.152.12"},
    "url": {"domain": "subdomain.example.com"},
    "user.id": "0",
    "flag": True,
    "exit_code": 0,
    "empty": [],
    "nothing": None,
    "@timestamp": "2026-01-15T10:00:00.000Z",
}


def holds(condition: str, document: dict[str, Any] = PROCESS) -> bool:
    """Whether a condition holds for a document of any category."""
    return compile_query(f"any where {condition}", "eql")(document)


@pytest.mark.parametrize(
    "condition",
    [
        # from the function reference of Elastic's documentation: each call and what it "returns"
        "add(4, 0.5) == 4.5",
        "add(process.args_count, 5) == 9",
        "add(null, 4) == null",
        'between(file.path, "System32\\\\", ".exe") == "cmd"',
        'between~(file.path, "system32\\\\", ".EXE") == "cmd"',
        'between(file.path, "workspace\\\\", ".exe") == ""',
        'between(file.path, "\\\\", "\\\\", false) == "Windows"',
        'between(file.path, "\\\\", "\\\\", true) == "Windows\\\\System32"',
        'cidrMatch(source.address, "192.168.0.0/16", "10.0.0.0/8")',
        'not cidrMatch(source.address, "10.0.0.0/8")',
        'concat("regsvr32.exe", " ", 42.5) == "regsvr32.exe 42.5"',
        'concat(process.name, " ", true) == "regsvr32.exe true"',
        "concat(process.name, null) == null",
        "divide(4, 3) == 1",
        "divide(4, -2) == -2",
        "divide(-4, 3) == -1",
        "divide(4, 0.5) == 8",
        'endsWith(process.name, ".exe")',
        'not endsWith(process.name, ".EXE")',
        'endsWith~(process.name, ".EXE")',
        'endsWith("", "")',
        'indexOf(url.domain, ".") == 9',
        'indexOf(url.domain, ".", 10) == 17',
        'indexOf(url.domain, ".", -6) == 9',
        'indexOf(url.domain, "", 10) == 10',
        'indexOf(url.domain, "z") == null',
        'indexOf(url.domain, ".", 30) == null',
        "length(process.name) == 12",
        'length("") == 0',
        "modulo(10, -6) == 4",
        "modulo(-10, -6) == -4",
        "modulo(10, 0.5) == 0",
        "multiply(0.25, 2) == 0.5",
        'number("1337") == 1337',
        'number("deadbeef", 16) == 3735928559',
        'number("0xdeadbeef") == 3735928559',
        'number("0xdeadbeef", null) == 3735928559',
        'number("+1337") == 1337',
        'number("  1337  ") == 1337',
        'startsWith(process.name, "regsvr32")',
        'startsWith("regsvr32.exe", process.name)',
        'string(42.5) == "42.5"',
        'string(true) == "true"',
        'stringContains(process.command_line, "regsvr32")',
        'not stringContains("", "")',
        'not stringContains(process.command_line, "")',
        'substring("start regsvr32.exe", 6) == "regsvr32.exe"',
        'substring("start regsvr32.exe", 0, 5) == "start"',
        'substring("start regsvr32.exe", -4) == ".exe"',
        'substring("start regsvr32.exe", -4, -1) == ".ex"',
        "subtract(process.args_count, 0.5) == 3.5",
        'wildcard(process.name, "*explorer*", "*regsvr32*")',
        'not wildcard("", "*start*")',
        'wildcard("", "*")',
        # from the syntax reference
        "4 / process.args_count == 1",
        "4 / process.parent.args_count == 2",
        'process.name : "REGSVR32.EXE"',
        'process.name : ("x", "regsvr*")',
        'process.name like "reg*.ex?"',
        'not process.name like "REG*"',
        'process.name like~ ("x", "REG*")',
        'process.name regex "[a-z]+32[.]exe"',
        'not process.name regex "regsvr32"',
        'process.name regex~ "REGSVR\\\\d\\\\d.*"',
        'process.name in ("a", "regsvr32.exe")',
        'process.name not in ("a", "b")',
        'process.name in~ ("REGSVR32.EXE")',
        'not process.name in~ ("REGSVR*")',
        "missing.field == null",
        "process.name != null",
        "?missing.field == null",
        "empty == null and nothing == null",
        "flag and flag == true and not flag == false",
        # numbers in keyword fields and text in numeric ones, as a mapping would take them
        'user.id == "0" and user.id == 0',
        'exit_code == "0" and exit_code in ("0")',
        # dates
        '@timestamp >= "2026-01-15" and @timestamp < "2026-01-16"',
        '@timestamp in ("2026-01-14", "2026-01-15") and not @timestamp in ("2026-01-14", "x")',
        '@timestamp <= "2026-01-15" and not @timestamp > "2026-01-15"',
    ],
)
def test_elastics_own_examples(condition: str) -> None:
    """Each example of Elastic's reference gives what the reference says."""
    assert holds(condition)


@pytest.mark.parametrize("field", ["gone", "gone.deeper", "empty", "nothing", "process.gone"])
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('{} == "x"', False),
        ('{} != "x"', True),
        ('not {} == "x"', True),
        ("{} > -1", False),
        ("not ({} > -1)", True),
        ('{} in ("x")', False),
        ('{} not in ("x")', True),
        ('{} like "*"', False),
        ('not {} like "*"', True),
        ('startsWith({}, "")', False),
        ('startsWith({}, "") == false', True),
        ("length({}) >= 0", False),
        ("length({}) == null", True),
        ("{} + 1 == null", True),
        ("{}", False),
        ("not {}", True),
    ],
)
def test_a_missing_field(field: str, condition: str, expected: bool) -> None:
    """No condition holds of a missing field, and each opposite does, as Elasticsearch's `must_not` has it."""
    assert holds(condition.format(field)) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('process.args == "/s"', True),
        ('process.args != "/s"', False),
        ('not process.args == "/s"', False),
        ('process.args != "/t"', True),
        ('process.args == "/s" and process.args == "x.dll"', True),
        ('process.args in ("no", "x.dll")', True),
        ('process.args not in ("no", "x.dll")', False),
        ('process.args : "*REGSVR32*"', True),
        ("length(process.args) == 2", True),
        ("length(process.args) == 1", False),
        ('endsWith(process.args, ".dll")', True),
    ],
)
def test_an_array_holds_when_any_value_does(condition: str, expected: bool) -> None:
    """A condition holds when one value of the array fulfils it; its opposite when none does."""
    assert holds(condition) is expected


TWO = {"a": ["Bash", "zsh"], "b": ["ba", "x"], "n": [1, 5], "m": 3, "dll": {"path": "c:/w/x.dll", "name": "x.dll"}}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("startsWith~(a, b)", True),
        ("startsWith(a, b)", False),
        ("not startsWith~(a, b)", False),
        ("startsWith~(a, gone)", False),
        ("not startsWith~(a, gone)", True),
        ('concat(a, "-", b) == "zsh-x"', True),
        ('concat(a, "-", b) : ("*-ba", "no")', True),
        ('concat(a, b) in ("zshba", "no")', True),
        ("concat(a, gone) == null", True),
        ("n + m == 8", True),
        ("8 == n + m", True),
        ("n - m > 2", False),
        ("n - -m == 4", True),
        ('substring(dll.path, 0, length(dll.path) - (length(dll.name) + 1)) == "c:/w"', True),
    ],
)
def test_a_condition_over_several_fields(condition: str, expected: bool) -> None:
    """It holds when any values of its fields, one of each, make it hold; a missing field is null among them."""
    assert holds(condition, TWO) is expected


@settings(deadline=None)  # each example parses a query
@given(st.lists(st.sampled_from(["a", "ab", "b", ""]), max_size=3), st.lists(st.sampled_from(["a", "B"]), max_size=3))
def test_several_fields_agree_with_a_loop(left: list[str], right: list[str]) -> None:
    """Every pair is tried, as two loops would."""
    wanted = any(one.lower().startswith(other.lower()) for one in left for other in right)
    assert holds("startsWith~(f, g)", {"f": left, "g": right}) is wanted


def test_arrays_of_hostile_length_do_not_stall_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many pairs are looked at, and the last of them still is."""
    monkeypatch.setattr(eql_compile, "COMBINATIONS", 6)
    assert holds("startsWith(f, g)", {"f": ["a", "b", "x"], "g": ["y", "x"]})
    assert not holds("startsWith(f, g)", {"f": ["a", "b", "c", "x"], "g": ["y", "x"]})


def test_the_category() -> None:
    """`process where` asks event.category, with its case; `any where` asks nothing."""
    assert compile_query("process where true", "eql")(PROCESS)
    assert compile_query('"process" where true', "eql")(PROCESS)
    assert not compile_query("Process where true", "eql")(PROCESS)
    assert not compile_query("file where true", "eql")(PROCESS)
    assert not compile_query("process where true", "eql")({"process": {"pid": 1}})
    assert compile_query("any where true", "eql")({})


def test_fields_may_be_nested_dotted_or_in_arrays_of_objects() -> None:
    """Elasticsearch reads all these shapes of one field alike, and so does this."""
    shapes: list[dict[str, Any]] = [
        {"a": {"b": {"c": 1}}},
        {"a.b.c": 1},
        {"a.b": {"c": 1}},
        {"a": {"b.c": [2, 1]}},
        {"a": [{"b": {"c": 2}}, {"b": [{"c": [[1]]}]}]},
        {"a": {"b": {"c": 3}}, "a.b.c": 1},
    ]
    assert all(holds("a.b.c == 1", shape) for shape in shapes)


# An independent evaluator: it works on Python values directly, over conditions spelt as (text, meaning).
VALUES = st.sampled_from(["a", "ab", "B", "", 0, 1, -2, 2.5, True, False, None, "1", {"x": 1}])
FIELD = VALUES | st.lists(VALUES, max_size=3)
DOCUMENTS = st.dictionaries(st.sampled_from(["f", "g"]), FIELD, max_size=2)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list):
        return list(itertools.chain.from_iterable(_leaves(item) for item in value))
    return [] if value is None else [value]


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _number(value: Any) -> Any:
    if isinstance(value, str):
        return {"1": 1}.get(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


ATOMS = [
    ('{} == "a"', lambda v: _text(v) == "a"),
    ('{} == "1"', lambda v: _text(v) == "1"),
    ("{} == 1", lambda v: _number(v) == 1),
    ("{} > 0", lambda v: _number(v) is not None and _number(v) > 0),
    ("{} <= 1", lambda v: _number(v) is not None and _number(v) <= 1),
    ("{} == true", lambda v: v is True),
    ('{} : "A*"', lambda v: isinstance(_text(v), str) and _text(v).lower().startswith("a")),
    ('{} in ("a", "B")', lambda v: _text(v) in ("a", "B") if isinstance(_text(v), str) else False),
    ("length({}) == 2", lambda v: isinstance(v, str) and len(v) == 2),
    ('startsWith~({}, "B")', lambda v: isinstance(v, str) and v[:1].lower() == "b"),
]
ATOM = st.tuples(st.sampled_from(range(len(ATOMS))), st.sampled_from(["f", "g"]))
TREES: st.SearchStrategy[Any] = st.recursive(
    ATOM,
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner) | st.tuples(st.just("not"), inner),
    max_leaves=5,
)


def _spell(tree: Any) -> str:
    match tree:
        case ("not", inner):
            return f"not ({_spell(inner)})"
        case ("and" | "or", left, right):
            return f"({_spell(left)}) {tree[0]} ({_spell(right)})"
        case (index, field):
            return str(ATOMS[index][0].format(field))
    raise AssertionError(tree)


def _mean(tree: Any, document: dict[str, Any]) -> bool:
    match tree:
        case ("not", inner):
            return not _mean(inner, document)
        case ("and", left, right):
            return _mean(left, document) and _mean(right, document)
        case ("or", left, right):
            return _mean(left, document) or _mean(right, document)
        case (index, field):
            return any(ATOMS[index][1](value) for value in _leaves(document.get(field)))
    raise AssertionError(tree)


@settings(max_examples=300)
@given(TREES, DOCUMENTS)
def test_it_agrees_with_a_naive_evaluator(tree: Any, document: dict[str, Any]) -> None:
    """Compiled queries say of random documents what a direct reading of the rules says."""
    assert compile_query(f"any where {_spell(tree)}", "eql")(document) is _mean(tree, document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["f", "g", "f.g", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)
HARD = compile_query(
    'any where f > 1 or f < "b" or length(f) > 2 or f regex "a+b" or f like "*a?" or cidrMatch(f, "10.0.0.0/8") or '
    'substring(f, 1) == "x" or number(f) % 2 == 1 or -f < 3 or f / 2 == 1 or f > "2026-01-01" or f.g == true or '
    'indexOf(f, "a") == 1 or between(f, "a", "b") == "" or string(f) == "1" or f == "2026-01-01"',
    "eql",
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(["f", "g", "f.g"]), JSON, max_size=3))
def test_no_document_makes_a_query_fail(document: dict[str, Any]) -> None:
    """Whatever a document holds, a query answers yes or no."""
    assert HARD(document) in (True, False)
