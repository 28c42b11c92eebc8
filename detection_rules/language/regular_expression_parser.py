"""The syntax of Lucene's regular expressions, read into a builder of automata.

https://www.elastic.co/docs/reference/query-languages/query-dsl/regexp-syntax
"""

from typing import Final, NoReturn

from detection_rules.language.automata import (
    ANY_CHARACTER,
    Builder,
    CharacterSet,
    RegularExpressionError,
    one,
    repeat,
    sequence,
    union,
)

MAX_DEPTH: Final = 50
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


def parse_expression(expression: str) -> Builder:
    """Read an expression.

    Raises:
        RegularExpressionError: It is malformed, or uses an optional operator of Lucene's.
    """
    return _Parser(expression).parse()


class _Parser:
    """Recursive descent over an expression."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.at = 0
        self.depth = 0

    def parse(self) -> Builder:
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

    def union(self) -> Builder:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"more than {MAX_DEPTH} nested groups")
        branches = [self.concatenation()]
        while self.take("|"):
            branches.append(self.concatenation())
        self.depth -= 1
        return branches[0] if len(branches) == 1 else union(branches)

    def concatenation(self) -> Builder:
        parts: list[Builder] = []
        while self.next() not in ("", "|", ")"):
            parts.append(self.repetition())
        return sequence(parts)

    def repetition(self) -> Builder:
        part = self.atom()
        while self.next() and self.next() in "?*+{":
            operator = self.next()
            self.at += 1
            if operator == "{":
                low, high = self.counts()
            else:
                low, high = {"?": (0, 1), "*": (0, None), "+": (1, None)}[operator]
            part = repeat(part, low, high)
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

    def atom(self) -> Builder:
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
            return one(self.character_class())
        if character == ".":
            return one(ANY_CHARACTER)
        if character == '"':
            return self.quoted()
        if character == "\\":
            return one(self.escape())
        return one(CharacterSet(((character, character),)))

    def quoted(self) -> Builder:
        end = self.expression.find('"', self.at)
        if end < 0:
            self.fail('`"` needs a closing `"`')
        literal = self.expression[self.at : end]
        self.at = end + 1
        return sequence([one(CharacterSet(((character, character),))) for character in literal])

    def escape(self) -> CharacterSet:
        character = self.next()
        if not character:
            self.fail("`\\` escapes nothing")
        self.at += 1
        if character.lower() in _ESCAPED_CLASSES:
            return CharacterSet(_ESCAPED_CLASSES[character.lower()], negated=character.isupper())
        if character.isascii() and character.isalnum():
            self.at -= 1
            self.fail(f"the escape `\\{character}` is not supported")
        return CharacterSet(((character, character),))

    def character_class(self) -> CharacterSet:
        negated = self.take("^")
        ranges: list[tuple[str, str]] = []
        while not self.take("]"):
            low = self.class_member()
            if isinstance(low, CharacterSet):
                ranges.extend(low.ranges)
                continue
            high = low
            if self.next() == "-" and self.expression[self.at + 1 : self.at + 2] not in ("", "]"):
                self.at += 1
                member = self.class_member()
                if isinstance(member, CharacterSet) or member < low:
                    self.fail("a range in `[ ]` runs backwards")
                high = member
            ranges.append((low, high))
        if not ranges:
            self.fail("`[]` holds nothing")
        return CharacterSet(tuple(ranges), negated=negated)

    def class_member(self) -> str | CharacterSet:
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
