"""Every spelling of a program gives the same instructions, and bad input gives one clear line."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.cbpf import decode, disassemble, from_memory
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.filters import Program
from tests.beat_bridge.cbpf.assembler import assemble, programs
from tests.beat_bridge.cbpf.recorded import CLASSIC

SPELLINGS = ("ddd", "one line", "no count", "dd", "C", "hex", "0x bytes", "backslash", "spaced")


def spell(program: Program, how: str) -> str:
    """Write a program down."""
    records = [f"{i.code} {i.jt} {i.jf} {i.k}" for i in program]
    memory = b"".join(struct.pack("<HBBI", i.code, i.jt, i.jf, i.k) for i in program)
    braces = [f"{{ {i.code:#x}, {i.jt}, {i.jf}, 0x{i.k:08x} }}," for i in program]
    return {
        "ddd": "\n".join([str(len(program)), *records]) + "\n",
        "one line": ",".join([str(len(program)), *records]) + ",",
        "no count": "\n".join(records),
        "dd": "\n".join(braces),
        "C": "struct sock_filter code[] = {\n\t/* a comment { */\n" + "\n".join(braces) + "\n};\n",
        "hex": memory.hex(),
        "0x bytes": ", ".join(f"{byte:#x}" for byte in memory),
        "backslash": '"' + "".join(f"\\x{byte:02x}" for byte in memory) + '"',
        "spaced": "\n".join(memory[i : i + 8].hex(" ") for i in range(0, len(memory), 8)),
    }[how]


@settings(max_examples=80, deadline=None)
@given(program=programs(), how=st.sampled_from(SPELLINGS))
def test_every_spelling_is_read_back(program: Program, how: str) -> None:
    """What is written down in any of the spellings is read as the same instructions."""
    assert decode(spell(program, how)) == program


@settings(max_examples=80, deadline=None)
@given(programs())
def test_disassembly_says_everything(program: Program) -> None:
    """An assembler that knows only the notation rebuilds the program from its disassembly."""
    assert assemble("\n".join(disassemble(program))) == program


def test_memory_is_little_endian() -> None:
    """Records as they lie in the memory of an x86 machine."""
    assert from_memory(bytes.fromhex("28000000 0c000000".replace(" ", ""))) == assemble("ldh [12]")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "f: empty"),
        ("  \n", "f: empty"),
        ("2\n40 0 0 12\n", "f:1: announces 2 instructions, and 1 follow"),
        ("2\n40 0 0 12\n6 0 0\n", "f:3: a record has the four numbers"),
        ("2\n40 0 0 12\n6 0 0 x\n", "f:3: k is 'x', not a number"),
        ("2\n40 0 0 12\n6 0 256000 1\n", "f:3: jf is 256000, more than 0xff"),
        ("1\n6 0 0 4294967296\n", "f:2: k is 4294967296, more than"),
        ("{ 0x6, 0, 0, 1 },\nhello\n", "f:2: 'hello' is no"),
        ("{ 0x6, 0, 0 }", "f:1: a record has the four numbers"),
        ("{ { { { {", "f:1: "),
        ("0600 0000 01", "f:1: 5 bytes are no whole number"),
        ("06000000 0100000g", "f:1: '0100000g' is neither"),
        ("0600000001000", "f:1: '0600000001000' has an odd number"),
        ("tcpdump: syntax error", "f:1: 'tcpdump' is neither"),
        ("2\n40 0 0 12\n40 0 0 12\n", "f: instruction 1: a program must end in ret"),
        ("2\n21 1 1 12\n6 0 0 1\n", "f: instruction 0: a jump by 1, past the end"),
        ("2\n5 0 0 4294967295\n6 0 0 1\n", "f: instruction 0: a jump by 4294967295"),
        ("2\n52 0 0 0\n6 0 0 1\n", "f: instruction 0: division by the constant 0"),
        ("2\n100 0 0 32\n6 0 0 1\n", "f: instruction 0: a shift by 32 bits"),
        ("2\n96 0 0 3\n6 0 0 1\n", "f: instruction 0: scratch cell M[3] is read before"),
        ("2\n2 0 0 16\n6 0 0 1\n", "f: instruction 0: scratch cell M[16]"),
        ("2\n255 0 0 0\n6 0 0 1\n", "f: instruction 0: unknown opcode 0x00ff"),
        ("2\n32 0 0 4294963201\n6 0 0 1\n", "f: instruction 0: a load from 0xfffff001"),
        ("\n".join(["4097", *["0 0 0 1"] * 4096, "6 0 0 1"]), "f: the program has 4097 instructions"),
        ("00" * 8 * 4097, "f:1: more than 4096 instructions"),
        ("1" * 300_000, "f: longer than 262144 characters"),
    ],
)
def test_bad_input_is_one_clear_line(text: str, complaint: str) -> None:
    """The line names the source, the place and what is wrong."""
    with pytest.raises(DoorwatchError) as caught:
        decode(text, "f")
    message = str(caught.value)
    assert message.startswith(complaint)
    assert "\n" not in message


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=80),
        st.text(alphabet="0123456789abcdefx{}, \n\\/*;", max_size=120),
        st.integers(0, len(spell(CLASSIC, "dd"))).map(lambda cut: spell(CLASSIC, "dd")[:cut]),
        st.integers(0, len(spell(CLASSIC, "ddd"))).map(lambda cut: spell(CLASSIC, "ddd")[cut:]),
    )
)
def test_no_text_crashes_the_decoder(text: str) -> None:
    """Any text is a program or a DoorwatchError."""
    try:
        assert decode(text)
    except DoorwatchError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
