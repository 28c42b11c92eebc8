"""Lucene's regular expressions, in time linear in the text.

EQL's `regex` speaks Lucene's dialect: the expression covers the whole text, `^` and `$` are ordinary characters, and
nothing backtracks. Python's `re` differs in all three, so this compiles to a nondeterministic automaton and walks it
with the subset construction, remembering the subsets it meets.

Syntax: https://www.elastic.co/docs/reference/query-languages/query-dsl/regexp-syntax
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

MAX_STATES: Final = 5_000
MAX_DEPTH: Final = 50
MAX_REMEMBERED: Final = 50_000
_OPTIONAL_OPERATORS: Final = {
    "~": "complement `~`",
    "&": "intersection `&`",
    "#": "the empty language `#`",
    "@": "any string `@`",
    "<": "a numeric interval `<1-9>`",
}
_ESCAPED_CLASSES: Final = {
    "d": (("0", "9"),),
    "w": (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")),
    "s": (("\t", "\n"), ("\r", "\r"), (" ", " ")),
}


class RegularExpressionError(ValueError):
    """What is wrong, and at which character of the expression."""

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(f"{problem} (character {position + 1} of the regular expression)")


@dataclass(frozen=True, slots=True)
class _Set:
    """Characters: any of the ranges, or with `negated` any of the others."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def holds(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) is not self.negated


_ANY_CHARACTER: Final = _Set((), negated=True)


@dataclass(slots=True)
class _Automaton:
    """State n either waits for a character (`waits[n]`, then goes on) or moves on freely (`free[n]`)."""

    waits: list[tuple[_Set, int] | None] = field(default_factory=list)
    free: list[list[int]] = field(default_factory=list)

    def state(self, wait: tuple[_Set, int] | None = None, free: tuple[int, ...] = ()) -> int:
        if len(self.waits) >= MAX_STATES:
            raise RegularExpressionError(f"it needs more than {MAX_STATES} states: shorten its repetitions", 0)
        self.waits.append(wait)
        self.free.append(list(free))
        return len(self.waits) - 1

    def closure(self, states: set[int]) -> frozenset[int]:
        pending = list(states)
        while pending:
            for target in self.free[pending.pop()]:
                if target not in states:
                    states.add(target)
                    pending.append(target)
        return frozenset(state for state in states if self.waits[state] is not None or not self.free[state])


_Builder = Callable[[_Automaton, int], int]
"""Adds an expression to an automaton in front of a state, and says which state it begins in."""


class _Step(dict[str, "_Step"]):
    """A set of states, and where each character that was seen in it leads: what is remembered of the subsets."""

    __slots__ = ("accepts", "always", "states")

    def __init__(self, states: frozenset[int], *, accepts: bool, always: bool) -> None:
        super().__init__()
        self.states = states
        self.accepts = accepts
        self.always = always
        """Whatever follows is accepted."""


def compile_expression(expression: str, *, ignore_case: bool) -> Callable[[str], bool]:
    """Compile an expression into a test of a whole text.

    Raises:
        RegularExpressionError: It is malformed, uses an optional operator of Lucene's, or is too large.
    """
    automaton = _Automaton()
    accepting = automaton.state()
    begin = automaton.closure({_Parser(expression).parse()(automaton, accepting)})
    endless = {
        state
        for state, wait in enumerate(automaton.waits)
        if wait is not None and wait[0] == _ANY_CHARACTER and {state, accepting} <= automaton.closure({wait[1]})
    }
    known: dict[frozenset[int], _Step] = {}
    remembered = 0

    def step_of(states: frozenset[int]) -> _Step:
        step = known.get(states)
        if step is None:
            accepts = accepting in states
            step = known[states] = _Step(states, accepts=accepts, always=accepts and not endless.isdisjoint(states))
        return step

    first = step_of(begin)

    def follow(step: _Step, character: str) -> _Step:
        nonlocal first, remembered
        forms = {character, character.lower(), character.upper()} if ignore_case else {character}
        targets = {
            wait[1]
            for state in step.states
            if (wait := automaton.waits[state]) is not None and any(wait[0].holds(form) for form in forms)
        }
        remembered += 1
        if remembered >= MAX_REMEMBERED:  # what a hostile text filled the memory with is forgotten
            remembered = 0
            known.clear()
            first = step_of(begin)
        following = step[character] = step_of(automaton.closure(targets))
        return following

    def match(text: str) -> bool:
        step = first
        for character in text:
            if step.always:
                return True
            following = step.get(character)
            step = follow(step, character) if following is None else following
            if not step.states:
                return False
        return step.accepts

    return match


class _Parser:
    """Recursive descent over an expression."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.at = 0
        self.depth = 0

    def parse(self) -> _Builder:
        builder = self.union()
        if self.at < len(self.expression):
            self.fail("`)` closes nothing")
        return builder

    def fail(self, problem: str) -> NoReturn:
        raise RegularExpressionError(problem, self.at)

    def next(self) -> str:
        return self.expression[self.at] if self.at < len(self.expression) else ""

    def take(self, character: str) -> bool:
        if self.next() == character:
            self.at += 1
            return True
        return False

    def union(self) -> _Builder:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"more than {MAX_DEPTH} nested groups")
        branches = [self.concatenation()]
        while self.take("|"):
            branches.append(self.concatenation())
        self.depth -= 1
        return branches[0] if len(branches) == 1 else _union(branches)

    def concatenation(self) -> _Builder:
        parts: list[_Builder] = []
        while self.next() not in ("", "|", ")"):
            parts.append(self.repetition())
        return _sequence(parts)

    def repetition(self) -> _Builder:
        part = self.atom()
        while self.next() and self.next() in "?*+{":
            operator = self.next()
            self.at += 1
            if operator == "{":
                low, high = self.counts()
            else:
                low, high = {"?": (0, 1), "*": (0, None), "+": (1, None)}[operator]
            part = _repeat(part, low, high)
        return part

    def counts(self) -> tuple[int, int | None]:
        low = self.number()
        high: int | None = low
        if self.take(","):
            high = None if self.next() == "}" else self.number()
        if not self.take("}"):
            self.fail("`{` needs a closing `}`")
        if high is not None and high < low:
            self.fail("the second count is smaller than the first")
        return low, high

    def number(self) -> int:
        begin = self.at
        while self.next().isascii() and self.next().isdigit():
            self.at += 1
        digits = self.expression[begin : self.at]
        if not digits or len(digits) > 4:
            self.fail("`{` needs a count below 10000")
        return int(digits)

    def atom(self) -> _Builder:
        character = self.next()
        if character in _OPTIONAL_OPERATORS:
            self.fail(f"{_OPTIONAL_OPERATORS[character]} is not supported: escape it with \\ if you mean the character")
        if character in "?*+{":
            self.fail(f"`{character}` repeats nothing")
        self.at += 1
        if character == "(":
            inner = self.union()
            if not self.take(")"):
                self.fail("`(` needs a closing `)`")
            return inner
        if character == "[":
            return _one(self.character_class())
        if character == ".":
            return _one(_ANY_CHARACTER)
        if character == '"':
            return self.quoted()
        if character == "\\":
            return _one(self.escape())
        return _one(_Set(((character, character),)))

    def quoted(self) -> _Builder:
        end = self.expression.find('"', self.at)
        if end < 0:
            self.fail('`"` needs a closing `"`')
        literal = self.expression[self.at : end]
        self.at = end + 1
        return _sequence([_one(_Set(((character, character),))) for character in literal])

    def escape(self) -> _Set:
        character = self.next()
        if not character:
            self.fail("`\\` escapes nothing")
        self.at += 1
        if character.lower() in _ESCAPED_CLASSES:
            return _Set(_ESCAPED_CLASSES[character.lower()], negated=character.isupper())
        if character.isascii() and character.isalnum():
            self.at -= 1
            self.fail(f"the escape `\\{character}` is not supported")
        return _Set(((character, character),))

    def character_class(self) -> _Set:
        negated = self.take("^")
        ranges: list[tuple[str, str]] = []
        while not self.take("]"):
            low = self.class_member()
            if isinstance(low, _Set):
                ranges.extend(low.ranges)
                continue
            high = low
            if self.next() == "-" and self.expression[self.at + 1 : self.at + 2] not in ("", "]"):
                self.at += 1
                member = self.class_member()
                if isinstance(member, _Set) or member < low:
                    self.fail("a range in `[ ]` runs backwards")
                high = member
            ranges.append((low, high))
        if not ranges:
            self.fail("`[]` holds nothing")
        return _Set(tuple(ranges), negated=negated)

    def class_member(self) -> str | _Set:
        character = self.next()
        if not character:
            self.fail("`[` needs a closing `]`")
        self.at += 1
        if character != "\\":
            return character
        escaped = self.escape()
        if escaped.negated:
            self.fail("a negated class inside `[ ]` is not supported")
        low, high = escaped.ranges[0]
        return low if len(escaped.ranges) == 1 and low == high else escaped


def _one(characters: _Set) -> _Builder:
    return lambda automaton, following: automaton.state((characters, following))


def _sequence(parts: list[_Builder]) -> _Builder:
    def build(automaton: _Automaton, following: int) -> int:
        for part in reversed(parts):
            following = part(automaton, following)
        return following

    return build


def _union(branches: list[_Builder]) -> _Builder:
    return lambda automaton, following: automaton.state(free=tuple(branch(automaton, following) for branch in branches))


def _repeat(part: _Builder, low: int, high: int | None) -> _Builder:
    def build(automaton: _Automaton, following: int) -> int:
        if high is None:
            loop = automaton.state(free=(following,))
            automaton.free[loop].append(part(automaton, loop))
            following = loop
        else:
            after = following
            for _ in range(high - low):
                following = automaton.state(free=(part(automaton, following), after))
        for _ in range(low):  # a state for each copy, even of nothing, so that MAX_STATES bounds the work
            following = part(automaton, automaton.state(free=(following,)))
        return following

    return build
