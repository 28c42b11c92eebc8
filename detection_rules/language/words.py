"""The words of a text, as Elasticsearch's standard analyzer finds them.

Unicode's word boundaries (UAX #29) in the parts that log lines are made of: `10.1.2.3`, `don't`, `a_b` and `x.y` are
one word each, `x-y` and `1:2` are two, and an ideograph is a word by itself. `_analyze` of the real server is the test.
"""

import re
from typing import Final

_SINGLE: Final = r"[\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
_BETWEEN_LETTERS: Final = r"[.:\u00b7\u2018\u2019\u2024\u2027']"
_BETWEEN_DIGITS: Final = r"[.,;\u2018\u2019\u2024']"
_WORD: Final = re.compile(
    rf"{_SINGLE}|(?:(?!{_SINGLE})[\w\u0300-\u036f]"
    rf"|(?<=[^\W\d_]){_BETWEEN_LETTERS}(?=[^\W\d_])|(?<=\d){_BETWEEN_DIGITS}(?=\d))+"
)


def words(text: str) -> list[str]:
    """The words in lower case, in their order."""
    return [_lower(word) for word in _WORD.findall(text)]


def _lower(word: str) -> str:
    """Each character by itself, as Lucene does it: Python's `lower` knows the sigma at the end of a word."""
    return word.lower() if word.isascii() else "".join(character.lower()[0] for character in word)
