"""What goes wrong in a pass is told as what it is: unread memory, another kernel, or a fault of this program's."""

import logging
import struct
from collections.abc import Callable, Iterator
from operator import add, attrgetter, floordiv

import pytest
from drgn import Architecture, FaultError, Object, Platform, Program, TypeMember

from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.symbols.profile import UnknownSymbolError


def _drgn() -> tuple[Program, Object]:
    prog = Program(Platform(Architecture.X86_64))
    structure = prog.struct_type("lab", 4, (TypeMember(prog.int_type("int", 4, True), "number"),))
    return prog, Object(prog, structure, {"number": 1})


def _told(fault: Callable[[], object]) -> Gaps:
    def walk() -> Iterator[object]:
        yield "first"
        yield fault()

    gaps = Gaps(examined=1)
    assert list(gaps.whole(walk(), "the walk")) == ["first"]
    assert gaps.coverage("lab").status is CoverageStatus.PARTIAL
    assert not gaps.listed
    assert "\n" not in gaps.detail
    return gaps


@pytest.mark.parametrize(
    "ask",
    [
        lambda prog, _: prog["no_such_variable"],
        lambda prog, _: prog.type("struct no_such"),
        lambda _, thing: thing.no_such_member,
        lambda _, thing: thing.type_.member("no_such"),
        lambda _, thing: thing[0],
        lambda _, thing: int(thing),
        lambda *_: _raise(UnknownSymbolError("kernel 6.1 has no symbol x")),
        lambda *_: _raise(LookupError("a bit field")),
    ],
)
def test_what_a_kernel_does_not_have_is_unsupported(ask: Callable[[Program, Object], object]) -> None:
    """Drgn's ways of saying that a variable, type or member is missing or of another type."""
    gaps = _told(lambda: ask(*_drgn()))
    assert gaps.reason is Reason.UNSUPPORTED
    assert "not possible with this kernel" in gaps.detail


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: dict[str, int]()["key"],
        lambda: list[int]().pop(),
        lambda: attrgetter("nothing")(None),
        lambda: add(None, 1),
        lambda: floordiv(1, 0),
        lambda: _raise(AssertionError("two\nlines")),
    ],
)
def test_a_mistake_of_ours_is_called_one(mistake: Callable[[], object], caplog: pytest.LogCaptureFixture) -> None:
    """Python's own errors are internal errors: in the account and, once a pass, in the log, with the place."""
    with caplog.at_level(logging.ERROR):
        gaps = _told(mistake)
        with gaps.question("another"):
            mistake()
    assert gaps.reason is Reason.FAILED
    assert "internal error" in gaps.detail
    assert "test_gaps.py:" in gaps.detail
    assert gaps.missed == 2
    (record,) = caplog.records
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    "fault", [FaultError("torn", 1), ValueError("not a date"), OverflowError("too far"), struct.error("short")]
)
def test_what_reads_as_nonsense_is_a_failed_look(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the kernel's layout nor this program is blamed for what a guest writes into its memory."""
    gaps = _told(lambda: _raise(fault))
    assert gaps.reason is Reason.FAILED
    assert "internal" not in gaps.detail
    assert not caplog.records


def test_a_name_that_the_guest_gives_stays_on_its_line() -> None:
    """A module may be named with line breaks and control sequences; the account is one printable line."""
    gaps = Gaps()
    gaps.miss("the code of module evil\nname\x1b[2J", FaultError("torn", 1))
    assert gaps.detail.isprintable()


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, MemoryError])
def test_what_ends_a_program_is_not_held_up(end: type[BaseException]) -> None:
    """An interrupt is no gap, and neither is a machine without memory."""
    with pytest.raises(end), Gaps().question("anything"):
        raise end


def _raise(error: Exception) -> object:
    raise error
