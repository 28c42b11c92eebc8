"""What DRAKVUF saw of a Linux guest: its JSON lines (`-o json`) as an inventory, for the same detectors.

Field names are those of its sources (src/plugins/output_format/jsonfmt.h and the Linux parts of its plugins):

- `procmon`: processes that ran when it began (`RunningProcess`), executions (`CommandLine`, `ImagePathName`,
  `FileName`, `Environment`) and exits (`ExitStatus`);
- `syscall` and `sysret`: socket, setsockopt, close, memfd_create, init_module, finit_module; their arguments are
  hexadecimal texts;
- `ebpfmon`: `Value` (`BPF_PROG_LOAD`) and `Type` of each bpf(2);
- `filetracer`: memfd_create.

What it cannot show, and what the coverage therefore says:

- a filter's instructions: setsockopt's argument is an address, so that a filter is told as attached and stays unjudged;
- inodes, cookies and namespaces of sockets, ids of eBPF objects, names of modules: numbers below zero stand for them,
  made of the moment of the event, so that the same log always names the same thing alike;
- what was there before DRAKVUF began, but for processes;
- a descriptor that was sent, inherited or duplicated: the process that opened a socket stays its holder;
- hidden modules: its plugins for rootkits (rootkitmon, dkommon, ssdtmon, callbackmon) are for Windows alone. The
  hypervisor sensor's lists of modules are the answer to that question.
"""

from beat_bridge.sensors.drakvuf.reading import Reading, read_lines, read_stream

__all__ = ["Reading", "read_lines", "read_stream"]
