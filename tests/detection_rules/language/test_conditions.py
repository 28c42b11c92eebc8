"""The written-out ways to a field, against the general one."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from detection_rules.language.conditions import one_of
from detection_rules.language.fields import leaves, reader
from detection_rules.language.values import as_text

VALUES = st.sampled_from(["x", "y", "12", 12, True, None, 1.5])
SOME = VALUES | st.lists(VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.just("a"), VALUES), max_size=2)
NAMES = ["a", "b", "c", "a.b", "b.c", "a.b.c"]
DOCUMENTS = st.dictionaries(
    st.sampled_from(NAMES),
    st.recursive(SOME, lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=3), max_leaves=5),
    max_size=3,
)


@given(st.sampled_from(["a", "a.b", "a.b.c"]), DOCUMENTS)
@example("a.b", {"a": {"b": "y"}, "a.b": "x"})
@example("a.b", {"a": {"b": [["x"]]}})
@example("a.b.c", {"a": {"b.c": "x", "b": {"c": "y"}}})
def test_a_field_is_found_in_every_shape(path: str, document: dict[str, Any]) -> None:
    """Nested, dotted, in arrays or both: a field holds what the walk over all leaves of the document finds under it."""
    texts = [as_text(value) for name, value in leaves(document) if name == path]
    assert one_of(path, frozenset({"x", "12"}))(document) is any(text in ("x", "12") for text in texts)
    scalars = [as_text(value) for value in reader(path)(document) if not isinstance(value, dict)]
    assert sorted(map(str, scalars)) == sorted(map(str, texts))
