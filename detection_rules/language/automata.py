"""Nondeterministic automata, put together as Thompson did: each part in front of the state that follows it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

MAX_STATES: Final = 5_000


class RegularExpressionError(ValueError):
    """What is wrong, and at which character of the expression."""

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(f"{problem} (character {position + 1} of the regular expression)")


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """Characters: any of the ranges, or with `negated` any of the others."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def holds(self, character: str) -> bool:
        """Whether a character is among them."""
        return any(low <= character <= high for low, high in self.ranges) is not self.negated


ANY_CHARACTER: Final = CharacterSet((), negated=True)


@dataclass(slots=True)
class Automaton:
    """State n either waits for a character (`waits[n]`, then goes on) or moves on freely (`free[n]`)."""

    waits: list[tuple[CharacterSet, int] | None] = field(default_factory=list)
    free: list[list[int]] = field(default_factory=list)

    def state(self, wait: tuple[CharacterSet, int] | None = None, free: tuple[int, ...] = ()) -> int:
        """Add a state.

        Raises:
            RegularExpressionError: There are too many.
        """
        if len(self.waits) >= MAX_STATES:
            raise RegularExpressionError(f"it needs more than {MAX_STATES} states: shorten its repetitions", 0)
        self.waits.append(wait)
        self.free.append(list(free))
        return len(self.waits) - 1

    def closure(self, states: set[int]) -> frozenset[int]:
        """The states that wait, or accept, reached from these without a character."""
        pending = list(states)
        while pending:
            for target in self.free[pending.pop()]:
                if target not in states:
                    states.add(target)
                    pending.append(target)
        return frozenset(state for state in states if self.waits[state] is not None or not self.free[state])


Builder = Callable[[Automaton, int], int]
"""Adds an expression to an automaton in front of a state, and says which state it begins in."""


def one(characters: CharacterSet) -> Builder:
    """One character of a set."""
    return lambda automaton, following: automaton.state((characters, following))


def sequence(parts: list[Builder]) -> Builder:
    """One part after the other."""

    def build(automaton: Automaton, following: int) -> int:
        for part in reversed(parts):
            following = part(automaton, following)
        return following

    return build


def union(branches: list[Builder]) -> Builder:
    """Any of the branches."""
    return lambda automaton, following: automaton.state(free=tuple(branch(automaton, following) for branch in branches))


def repeat(part: Builder, low: int, high: int | None) -> Builder:
    """A part from `low` to `high` times; None is without end."""

    def build(automaton: Automaton, following: int) -> int:
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
