"""The classic BPF instruction set as Linux runs it (include/uapi/linux/bpf_common.h, filter.h)."""

from types import MappingProxyType

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
SCRATCH_CELLS = 16  # BPF_MEMWORDS
WORD = 0xFFFFFFFF

# instruction classes, code & 7
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)

LD_IMM, LDX_IMM = 0x00, 0x01
LD_MEM, LDX_MEM = 0x60, 0x61
LD_LEN, LDX_LEN = 0x80, 0x81
LDX_MSH = 0xB1
JEQ_K = 0x15
JA = 0x05
RET_K, RET_A = 0x06, 0x16
TAX, TXA = 0x07, 0x87
NEG = 0x84
FROM_X = 0x08
"""BPF_X: the second operand is X, not k."""

LD_ABS = MappingProxyType({0x20: 4, 0x28: 2, 0x30: 1})
"""Loads from a fixed place, with their width in bytes."""
LD_IND = MappingProxyType({0x40: 4, 0x48: 2, 0x50: 1})
"""Loads from X + k, with their width in bytes."""

ARITHMETIC = MappingProxyType(
    {
        0x00: "add",
        0x10: "sub",
        0x20: "mul",
        0x30: "div",
        0x40: "or",
        0x50: "and",
        0x60: "lsh",
        0x70: "rsh",
        0x90: "mod",
        0xA0: "xor",
    }
)
"""code & 0xf0 of an ALU instruction (NEG apart, which has one operand)."""
COMPARISONS = MappingProxyType({0x10: "jeq", 0x20: "jgt", 0x30: "jge", 0x40: "jset"})
"""code & 0xf0 of a conditional jump."""

VALID = frozenset(
    {LD_IMM, LDX_IMM, LD_MEM, LDX_MEM, LD_LEN, LDX_LEN, LDX_MSH, ST, STX, JA, RET_K, RET_A, TAX, TXA, NEG}
    | set(LD_ABS)
    | set(LD_IND)
    | {ALU | operation | source for operation in ARITHMETIC for source in (0, FROM_X)}
    | {JMP | comparison | source for comparison in COMPARISONS for source in (0, FROM_X)}
)

NETWORK_OFFSET = -0x100000  # SKF_NET_OFF
LINK_OFFSET = -0x200000  # SKF_LL_OFF
ANCILLARY_OFFSET = -0x1000 & WORD  # SKF_AD_OFF
ANCILLARY = MappingProxyType(
    {
        # SKF_AD_*, with the names bpf_asm gives them
        0: "proto",
        4: "type",
        8: "ifidx",
        12: "nla",
        16: "nlan",
        20: "mark",
        24: "queue",
        28: "hatype",
        32: "rxhash",
        36: "cpu",
        40: "xor_x",  # no load at all: A ^= X (SKF_AD_ALU_XOR_X)
        44: "vlan_tci",
        48: "vlan_avail",
        52: "poff",
        56: "rand",
        60: "vlan_tpid",
    }
)
"""What the kernel knows about a packet besides its bytes, by offset from SKF_AD_OFF."""


def ancillary_name(k: int) -> str | None:
    """The ancillary field that an absolute load of `k` reads, or None where it reads the packet."""
    return ANCILLARY.get(k - ANCILLARY_OFFSET) if k >= ANCILLARY_OFFSET else None


def signed(value: int) -> int:
    """A 32-bit word as a C `int`."""
    return value - 0x100000000 if value & 0x80000000 else value
