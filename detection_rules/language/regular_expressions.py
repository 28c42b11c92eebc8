"""Lucene's regular expressions, in time linear in the text.

EQL's `regex` speaks Lucene's dialect: the expression covers the whole text, `^` and `$` are ordinary characters, and
nothing backtracks. Python's `re` differs in all three, so this compiles to a nondeterministic automaton and walks it
with the subset construction, remembering the subsets it meets.
"""

from collections.abc import Callable, Sequence
from typing import Final

from detection_rules.language.automata import ANY_CHARACTER, Automaton, RegularExpressionError
from detection_rules.language.regular_expression_parser import parse_expression

MAX_REMEMBERED: Final = 50_000


class _Step(dict[str, "_Step"]):
    """A set of states, and where each character that was seen in it leads: what is remembered of the subsets."""

    __slots__ = ("accepts", "settled", "states")

    def __init__(self, states: frozenset[int], *, accepts: bool, settled: bool) -> None:
        super().__init__()
        self.states = states
        self.accepts = accepts
        self.settled = settled
        """Whatever follows changes nothing any more."""


def compile_expression(expression: str, *, ignore_case: bool) -> Callable[[str], bool]:
    """Compile an expression into a test of a whole text.

    Raises:
        RegularExpressionError: It is malformed, uses an optional operator of Lucene's, or is too large.
    """
    return _compile([expression], ignore_case=ignore_case)


def compile_expressions(expressions: Sequence[str], *, ignore_case: bool) -> Callable[[str], bool]:
    """One test for several expressions, of which one must match: all are followed at once.

    Raises:
        RegularExpressionError: As `compile_expression`, for any of them.
    """
    try:
        return _compile(expressions, ignore_case=ignore_case)
    except RegularExpressionError:  # too large together, or one of them is wrong
        tests = [compile_expression(expression, ignore_case=ignore_case) for expression in expressions]
    return lambda text: any(test(text) for test in tests)


def _compile(expressions: Sequence[str], *, ignore_case: bool) -> Callable[[str], bool]:
    automaton = Automaton()
    accepting = automaton.state()
    begin = automaton.closure({parse_expression(expression)(automaton, accepting) for expression in expressions})
    endless = {
        state
        for state, wait in enumerate(automaton.waits)
        if wait is not None and wait[0] == ANY_CHARACTER and {state, accepting} <= automaton.closure({wait[1]})
    }
    known: dict[frozenset[int], _Step] = {}
    remembered = 0

    def step_of(states: frozenset[int]) -> _Step:
        step = known.get(states)
        if step is None:
            accepts = accepting in states
            settled = not states or (accepts and not endless.isdisjoint(states))
            step = known[states] = _Step(states, accepts=accepts, settled=settled)
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
            if step.settled:
                break
            following = step.get(character)
            step = follow(step, character) if following is None else following
        return step.accepts

    return match
