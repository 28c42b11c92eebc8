"""Names for the file systems that files lie on."""

from beat_bridge.sensors.host.syscalls import file_system_magic

NAMES = {  # include/uapi/linux/magic.h, and the file systems' own headers
    0x01021994: "tmpfs",
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x794C7630: "overlay",
    0xF2F52010: "f2fs",
    0x2FC12FC1: "zfs",
    0xCA451A4E: "bcachefs",
    0x73717368: "squashfs",
    0xE0F5E1E2: "erofs",
    0x858458F6: "ramfs",
    0x958458F6: "hugetlbfs",
    0x6969: "nfs",
    0xFE534D42: "smb2",
    0xFF534D42: "cifs",
    0x00C36400: "ceph",
    0x01021997: "9p",
    0x65735546: "fuse",
    0x4D44: "vfat",
    0x2011BAB0: "exfat",
    0x7366746E: "ntfs3",
    0x9660: "iso9660",
    0x9FA0: "proc",
}


class FileSystems:
    """Remembers, for one pass, which device carries which file system."""

    def __init__(self) -> None:
        self._by_device: dict[int, str] = {}

    def name(self, path: str, device: int) -> str:
        """The type of the file system a path leads to; its number in hexadecimal where it has no name here.

        Args:
            path: Asked only where the device is new.
            device: `st_dev` of the file.

        Returns:
            Empty where it could not be told.
        """
        if device not in self._by_device:
            try:
                magic = file_system_magic(path)
            except OSError:
                return ""
            self._by_device[device] = NAMES.get(magic, f"{magic:#x}")
        return self._by_device[device]
