"""Loaded modules, asked in three ways: the list, the objects behind /sys/module, and the tree of their code."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from drgn import FaultError, Program

from beat_bridge.model.kernel import KernelModule
from beat_bridge.sensors.hypervisor.kernel.asking import listed, read_each, walked
from beat_bridge.sensors.hypervisor.kernel.gaps import Gaps
from beat_bridge.sensors.hypervisor.kernel.lists import list_for_each, rb_for_each
from beat_bridge.sensors.hypervisor.kernel.program import symbol
from beat_bridge.sensors.hypervisor.kernel.records import enumerators, offset_of, record

_STATE = "MODULE_STATE_"


def modules_in_list(prog: Program) -> Iterator[int]:
    """The list that /proc/modules and lsmod show.

    Yields:
        ``struct module *``
    """
    offset = offset_of(prog, "struct module", "list")
    for node in list_for_each(prog, symbol(prog, "modules")):
        yield node - offset


def modules_in_kset(prog: Program) -> Iterator[int]:
    """The directories of /sys/module that belong to a loaded module: `module_kset`.

    Yields:
        ``struct module *``
    """
    kset = prog["module_kset"].value_()
    entry = offset_of(prog, "struct module_kobject", "kobj.entry")
    module_of = record(prog, "struct module_kobject", "mod")
    for node in list_for_each(prog, kset + offset_of(prog, "struct kset", "list")):
        (module,) = module_of.read(node - entry)
        if module:  # what is built in has parameters there, but no module
            yield module


def modules_in_tree(prog: Program) -> Iterator[int]:
    """The tree by which the kernel tells whose code an address is, as in a stack trace: `mod_tree`.

    Yields:
        ``struct module *``, one for each stretch of memory it has there
    """
    node = offset_of(prog, "struct mod_tree_node", "node.node[0]")
    module_of = record(prog, "struct mod_tree_node", "mod")
    root = symbol(prog, "mod_tree") + offset_of(prog, "struct mod_tree_root", "root.tree[0]")
    for each in rb_for_each(prog, root):
        yield module_of.read(each - node)[0]


@dataclass(slots=True)
class Modules:
    """The modules that exist, and which addresses are theirs."""

    modules: list[KernelModule] = field(default_factory=list)
    ranges: list[tuple[int, int, str]] = field(default_factory=list)
    """(first address, end, name) of code."""
    by_address: dict[int, KernelModule] = field(default_factory=dict)
    """The same modules by the address of their ``struct module``."""


def look_at_modules(prog: Program, gaps: Gaps) -> Modules:
    """Every module that any of the kernel's lists shows."""
    seen_by = _shown(prog, gaps)
    found = Modules()
    states = enumerators(prog, "enum module_state", _STATE)

    def read(module: int) -> KernelModule:
        return _module(prog, module, states, seen_by[module])

    def now() -> Iterator[int]:
        asked = Gaps()
        yield from _shown(prog, asked)
        if not asked.complete:
            raise FaultError(asked.detail, 0)

    for address, module in read_each(prog, sorted(seen_by), read, listed(now)):
        if isinstance(module, FaultError):
            gaps.miss("a module", module)
            continue
        gaps.examined += 1
        found.modules.append(module)
        found.by_address[address] = module
        found.ranges.append((module.text_address, module.text_address + module.text_size, module.name))
    return found


def _shown(prog: Program, gaps: Gaps) -> dict[int, set[str]]:
    """``struct module *`` to the lists that show it."""
    seen_by: dict[int, set[str]] = {}
    for name, walk in (
        ("module_list", modules_in_list),
        ("module_kset", modules_in_kset),
        ("module_tree", modules_in_tree),
    ):
        for module in walked(prog, partial(walk, prog), f"the {name.replace('_', ' ')}", gaps):
            seen_by.setdefault(module, set()).add(name)
    return seen_by


def _module(prog: Program, module: int, states: dict[int, str], seen_by: set[str]) -> KernelModule:
    try:
        # since commit ac3b43283923 (Linux 6.4) a module has several stretches of memory
        layout = record(prog, "struct module", "name", "state", "mem[0].base", "mem[0].size")
    except LookupError:
        layout = record(prog, "struct module", "name", "state", "core_layout.base", "core_layout.text_size")
    name, state, base, size = layout.read(module)
    return KernelModule(
        name=name.decode("utf-8", "backslashreplace"),
        state=states.get(state, ""),
        text_address=base,
        text_size=size,
        instance=_instance(prog, module),
        seen_by=tuple(sorted(seen_by)),
    )


def _instance(prog: Program, module: int) -> int:
    """The inode of /sys/module/NAME, which is its directory's `kernfs_node.id`; 0 where it has no directory.

    Raises:
        FaultError: It cannot be read.
    """
    try:
        (directory,) = record(prog, "struct module", "mkobj.kobj.sd").read(module)
        return int(record(prog, "struct kernfs_node", "id").read(directory)[0]) if directory else 0
    except LookupError:
        return 0
