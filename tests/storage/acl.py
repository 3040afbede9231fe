"""A folder in which one more account may change whatever others make: a storage server over a scratch area."""

from __future__ import annotations

import os
import struct
from pathlib import Path

_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY = 0xFFFFFFFF


def let_in(folder: Path, uid: int) -> None:
    """Gives `uid` all rights on a folder and on what will be made in it (acl(5), the form of linux/posix_acl_xattr.h).

    Without it a file that root writes under scratch could be read by the storage server, but never deleted.
    """
    entries = (
        (_USER_OBJ, 7, _NOBODY),
        (_USER, 7, uid),
        (_GROUP_OBJ, 5, _NOBODY),
        (_MASK, 7, _NOBODY),
        (_OTHER, 5, _NOBODY),
    )
    text = struct.pack("<I", _VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    for name in ("system.posix_acl_access", "system.posix_acl_default"):
        os.setxattr(folder, name, text)
