"""Names of files, put together from directory entries and mounts as d_path() does (fs/d_path.c)."""

from collections.abc import Iterator
from dataclasses import dataclass

from drgn import FaultError, Program

from beat_bridge.sensors.hypervisor.kernel.lists import TornWalkError, hlist_for_each, list_for_each
from beat_bridge.sensors.hypervisor.kernel.program import view
from beat_bridge.sensors.hypervisor.kernel.records import offset_of, record

_DEEPEST = 512
"""Components of a path: PATH_MAX is 4096 bytes, and every one takes two."""
_LONGEST_NAME = 255
"""NAME_MAX"""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """What a ``struct file`` leads to."""

    path: str
    """From the root of its mount namespace, or from the root of its file system where it is mounted nowhere."""
    filesystem: str
    """`tmpfs`, `ext4`, `sockfs`."""
    device: int
    """As stat(2) encodes it."""
    inode: int
    links: int
    unlinked: bool
    """It is in no directory, or not any more: what /proc marks with " (deleted)"."""
    replaced: bool
    """Unlinked, and another file now bears its name, as far as the kernel keeps that directory in memory."""
    address: int
    """``struct inode *``"""


def open_file(prog: Program, file: int) -> OpenFile:
    """Where a file lies.

    Args:
        prog: The guest.
        file: ``struct file *``

    Raises:
        FaultError: It cannot be read.
    """
    mount, dentry, inode = record(prog, "struct file", "f_path.mnt", "f_path.dentry", "f_inode").read(file)
    number, links, super_block = record(prog, "struct inode", "i_ino", "i_nlink", "i_sb").read(inode)
    hash_pprev, parent = record(prog, "struct dentry", "d_hash.pprev", "d_parent").read(dentry)
    device, kind = record(prog, "struct super_block", "s_dev", "s_type").read(super_block)
    (root,) = record(prog, "struct vfsmount", "mnt_root").read(mount)
    unlinked = hash_pprev == 0 and dentry != root
    return OpenFile(
        path=path_of(prog, mount, dentry),
        filesystem=_text(prog, record(prog, "struct file_system_type", "name").read(kind)[0], 64),
        device=_user_device(device),
        inode=number,
        links=links,
        unlinked=unlinked,
        replaced=unlinked and parent != dentry and _has_successor(prog, dentry, parent),
        address=inode,
    )


def path_of(prog: Program, mount: int, dentry: int) -> str:
    """The name of a directory entry, across mounts.

    Args:
        prog: The guest.
        mount: ``struct vfsmount *``
        dentry: ``struct dentry *``

    Raises:
        FaultError: It cannot be read, or leads in a circle.
    """
    mounts = record(prog, "struct mount", "mnt.mnt_root", "mnt_parent", "mnt_mountpoint")
    entry = record(prog, "struct dentry", "d_parent", "d_name.name", "d_name.len")
    at = mount - offset_of(prog, "struct mount", "mnt")
    root, above, mountpoint = mounts.read(at)
    names: list[str] = []
    for _ in range(_DEEPEST):
        if dentry == root:
            if above == at:
                break
            at, dentry = above, mountpoint
            root, above, mountpoint = mounts.read(at)
            continue
        parent, name, length = entry.read(dentry)
        if parent == dentry and names:
            break  # the root of a file system that is mounted nowhere any more
        names.append(_name(prog, name, length).decode("utf-8", "backslashreplace"))
        if parent == dentry:
            break  # a file that never was in a directory (memfd): its name tells what it is
        dentry = parent
    else:
        raise TornWalkError("a path has no end", dentry)
    return "/" + "/".join(reversed(names))


def children(prog: Program, dentry: int) -> Iterator[int]:
    """The entries of a directory that the kernel holds in memory: all of them on tmpfs, else those used of late.

    Args:
        prog: The guest.
        dentry: ``struct dentry *``

    Yields:
        ``struct dentry *``
    """
    try:
        # since commit da549bdd15c2 (Linux 6.8) the children hang in a hash list
        nodes = hlist_for_each(prog, dentry + offset_of(prog, "struct dentry", "d_children"))
        link = offset_of(prog, "struct dentry", "d_sib")
    except LookupError:
        nodes = list_for_each(prog, dentry + offset_of(prog, "struct dentry", "d_subdirs"))
        link = offset_of(prog, "struct dentry", "d_child")
    for node in nodes:
        yield node - link


def _has_successor(prog: Program, dentry: int, parent: int) -> bool:
    """Whether another entry of the same directory has the name that was removed, and leads to a file."""
    entry = record(prog, "struct dentry", "d_name.len", "d_name.name", "d_inode", "d_hash.pprev")
    length, name, _, _ = entry.read(dentry)
    wanted = _name(prog, name, length)
    for child in children(prog, parent):
        its_length, its_name, inode, hashed = entry.read(child)
        if child != dentry and its_length == length and inode and hashed and _name(prog, its_name, length) == wanted:
            return True
    return False


def _name(prog: Program, address: int, length: int) -> bytes:
    return view(prog).read(address, min(length, _LONGEST_NAME))


def _text(prog: Program, address: int, longest: int) -> str:
    """A NUL-terminated text of the kernel's, `longest` bytes at most."""
    try:
        raw = view(prog).read(address, longest)
    except FaultError:
        raw = prog.read_c_string(address, max_size=longest)  # it may lie at the end of what is mapped
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _user_device(device: int) -> int:
    """Turn the kernel's dev_t (MINORBITS 20) into what stat(2) shows (new_encode_dev)."""
    major, minor = device >> 20, device & 0xFFFFF
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
