"""Wildcard patterns, matched in time that grows with pattern times text and no faster.

Documents are hostile input: a command line must not be able to stall a rule, as it could with a backtracking matcher
(`*a*a*a*b` over a long run of `a`).
"""

from collections.abc import Callable, Sequence

Matcher = Callable[[str], bool]
ANY = "*"
ONE = "?"


def wildcard(pattern: str, *, ignore_case: bool, one: bool = True) -> Matcher:
    """Compile a pattern with `*` (any characters, also none) and, unless `one` is false, `?` (exactly one).

    Args:
        pattern: Has no escapes: every `*` and `?` is a wildcard.
        ignore_case: Compare as Lucene's case-insensitive terms do, character by character in lower case.
        one: Whether `?` is a wildcard (in EQL it is, in KQL it is a question mark).
    """
    return segments(pattern.split(ANY), ignore_case=ignore_case, one=one)


def wildcards(patterns: Sequence[str], *, ignore_case: bool) -> Matcher:
    """One matcher for several patterns, of which one must match: all beginnings in one step, and all endings."""
    if not ignore_case and all(ONE not in pattern and ANY not in pattern for pattern in patterns):
        return frozenset(patterns).__contains__
    fold = str.lower if ignore_case else str
    beginnings: list[str] = []
    endings: list[str] = []
    others: list[Matcher] = []
    for pattern in patterns:
        plain = ONE not in pattern and pattern.count(ANY) == 1
        if plain and pattern.endswith(ANY):
            beginnings.append(fold(pattern[:-1]))
        elif plain and pattern.startswith(ANY):
            endings.append(fold(pattern[1:]))
        else:
            others.append(wildcard(pattern, ignore_case=ignore_case))
    first, last = tuple(beginnings), tuple(endings)

    def match(text: str) -> bool:
        folded = fold(text)
        if folded.startswith(first) or folded.endswith(last):
            return True
        for matches in others:  # noqa: SIM110 - any() over a generator costs half as much again
            if matches(text):
                return True
        return False

    return match


def segments(literals: Sequence[str], *, ignore_case: bool, one: bool) -> Matcher:
    """The same from the literal pieces between the `*`s: `("/dev/shm/", "")` is `/dev/shm/*`."""
    fold = str.lower if ignore_case else str
    pieces = [fold(piece) for piece in literals]
    if len(pieces) == 1:
        return _whole(pieces[0], fold, one)
    first, *middle, final = pieces
    middle = [piece for piece in middle if piece]

    def match(text: str) -> bool:
        text = fold(text)
        end = len(text) - len(final)
        if end < len(first):
            return False
        if not _at(text, first, 0, one) or not _at(text, final, end, one):
            return False
        position = len(first)
        for piece in middle:  # leftmost is as good as any: what follows only needs room
            found = _find(text, piece, position, end, one)
            if found < 0:
                return False
            position = found + len(piece)
        return True

    return match


def _whole(piece: str, fold: Callable[[str], str], one: bool) -> Matcher:
    if not one or ONE not in piece:
        return lambda text: fold(text) == piece

    def match(text: str) -> bool:
        text = fold(text)
        return len(text) == len(piece) and _at(text, piece, 0, one)

    return match


def _at(text: str, piece: str, position: int, one: bool) -> bool:
    if not one or ONE not in piece:
        return text.startswith(piece, position)
    if position + len(piece) > len(text):
        return False
    return all(wanted in (ONE, text[position + index]) for index, wanted in enumerate(piece))


def _find(text: str, piece: str, start: int, end: int, one: bool) -> int:
    """Where in text[start:end] the piece first stands, or -1."""
    if not one or ONE not in piece:
        return text.find(piece, start, end)
    return next((at for at in range(start, end - len(piece) + 1) if _at(text, piece, at, one)), -1)
