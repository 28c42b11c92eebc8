"""Classic BPF: decode a program, follow its accepting paths, say what each demands, judge."""

from beat_bridge.cbpf.decode import decode, from_memory
from beat_bridge.cbpf.disassemble import disassemble
from beat_bridge.cbpf.judge import judge
from beat_bridge.cbpf.link import Link

__all__ = ["Link", "decode", "disassemble", "from_memory", "judge"]
