"""Which of many queries a document could match, found without asking them: by its data stream, and by what it holds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from detection_rules.language.branches import Branch
from detection_rules.language.fields import Document, Fetch, fetcher, reader
from detection_rules.language.terms import Terms

STREAMS: Final = 1_000
"""Data streams whose rules are kept in mind."""


class Asked(Protocol):
    """A rule, or an item of a sequence."""

    @property
    def reads(self) -> Callable[[str], bool]:
        """Whether it reads a data stream."""

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its query's alternatives."""


AskedT = TypeVar("AskedT", bound=Asked)


class Index(Generic[AskedT]):
    """What is to be asked, by the data streams it reads."""

    def __init__(self, rules: Sequence[AskedT]) -> None:
        self.rules = tuple(rules)
        self._everything = Selection(self.rules)
        self._of_stream: dict[str, Selection[AskedT]] = {}
        self._of_rules: dict[tuple[int, ...], Selection[AskedT]] = {}

    def match(self, document: Mapping[str, Any]) -> list[AskedT]:
        """What reads the data stream a document lives in and fires on it, in the order given."""
        stream = stream_of(document)
        if stream is None:
            return self._everything.match(document)
        selection = self._of_stream.get(stream)
        return (self._select(stream) if selection is None else selection).match(document)

    def _select(self, stream: str) -> "Selection[AskedT]":
        key = tuple(at for at, rule in enumerate(self.rules) if rule.reads(stream))
        selection = self._of_rules.get(key)
        if selection is None:
            selection = Selection([self.rules[at] for at in key])
            if len(self._of_rules) < STREAMS:
                self._of_rules[key] = selection
        if len(self._of_stream) < STREAMS:  # data streams are few; names out of hostile documents need not be
            self._of_stream[stream] = selection
        return selection


class Selection(Generic[AskedT]):
    """The same by what they demand. Every branch has a bit; a document that lacks what it demands clears it.

    A field is read only while a branch is left that demands something of it: a document of Elastic Defend's is not
    asked for our fields.
    """

    def __init__(self, rules: Sequence[AskedT]) -> None:
        self._branches = {
            1 << number: (rule, branch.holds)
            for number, (rule, branch) in enumerate((rule, branch) for rule in rules for branch in rule.branches)
        }
        demands = [branch.demands for rule in rules for branch in rule.branches]
        self._all = (1 << len(demands)) - 1
        tables: dict[tuple[int, tuple[str, ...]], _Table] = {}
        for number, demanded in enumerate(demands):
            seen: dict[tuple[str, ...], int] = {}
            for terms in demanded:
                fields = tuple(sorted({name for name, _ in terms}))
                seen[fields] = seen.get(fields, -1) + 1  # several demands of one field are as many tables
                tables.setdefault((seen[fields], fields), _Table(fields)).add(terms, 1 << number)
        ordered = sorted(tables.values(), key=lambda table: -table.bits.bit_count())
        self._tables = [(table.bits, ~table.bits, table.values) for table in ordered]

    def match(self, document: Mapping[str, Any]) -> list[AskedT]:
        """Those that fire, in the order given."""
        left = self._all
        for bits, others, columns in self._tables:
            if not left & bits:
                continue
            held = others
            for fetch, values in columns:
                value = fetch(document)
                if type(value) is str:
                    held |= values.get(value.lower(), 0)
                elif type(value) is list:
                    for each in value:
                        if type(each) is str:
                            held |= values.get(each.lower(), 0)
            left &= held
        found: list[AskedT] = []
        branches = self._branches
        while left:
            bit = left & -left
            left ^= bit
            rule, holds = branches[bit]
            if (not found or found[-1] is not rule) and holds(document):
                found.append(rule)
        return found


class _Table:
    """What some branches demand of some fields: any one of these values, in any one of these fields."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.bits = 0
        """The branches."""
        self._by_field: dict[str, dict[str, int]] = {name: {} for name in fields}
        self.values: list[tuple[Fetch, dict[str, int]]] = [
            (fetcher(name), values) for name, values in self._by_field.items()
        ]
        """For each field the branches content with a value of it."""

    def add(self, terms: Terms, bit: int) -> None:
        """A branch's demand."""
        self.bits |= bit
        for name, value in terms:
            values = self._by_field[name]
            values[value] = values.get(value, 0) | bit


_STREAM = tuple(reader(f"data_stream.{part}") for part in ("type", "dataset", "namespace"))


def stream_of(document: Document) -> str | None:
    """The data stream a document says it lives in, `logs-endpoint.events.file-default`; None where it does not say."""
    home = document.get("data_stream")
    if type(home) is dict:  # as nearly every document has it
        kind, dataset, namespace = home.get("type"), home.get("dataset"), home.get("namespace")
        if type(kind) is str and type(dataset) is str and type(namespace) is str:
            return f"{kind}-{dataset}-{namespace}"
    words = [values[0] for part in _STREAM if (values := part(document)) and isinstance(values[0], str)]
    return "-".join(words) if len(words) == len(_STREAM) else None
