"""Writing a file so that the old one or the new one is always whole, whatever happens between."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``path`` when the block ends well.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and then take the
    name in one step; the folder is flushed too. If the block or any of this fails, the temporary
    file is removed and ``path`` is as it was. Links are followed; the old file's mode is kept.
    (Only a killed process leaves its temporary file, ``.fastdl-*.tmp``, behind.)

    Parameters
    ----------
    path : path
        The file to write. Its folder must exist.

    Yields
    ------
    file
        The temporary file, open for writing in binary and seekable.

    Raises
    ------
    OSError
        If it cannot be written; the error names ``path`` and is of the usual subclass
        (`FileNotFoundError`, `PermissionError`, ...). Also if ``path`` is not a regular file.
    """
    path = os.fspath(path)
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".fastdl-{os.urandom(8).hex()}.tmp")
    folder_fd = -1
    try:
        mode = _mode(target)
        folder_fd = os.open(folder, os.O_RDONLY)
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with open(fd, "wb") as file:
                if mode is not None:
                    os.fchmod(fd, mode)
                yield file
                file.flush()
                os.fsync(fd)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync_folder(folder_fd)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"cannot write the file: {reason}", path) from error
    finally:
        if folder_fd >= 0:
            os.close(folder_fd)


def _mode(target: str) -> int | None:
    """Return the permissions of an existing file; refuse what is not a regular file."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):  # a device must not be replaced by a file
        raise OSError(errno.EINVAL, "not a regular file")
    return stat.S_IMODE(status.st_mode)


def _sync_folder(fd: int) -> None:
    """Flush a folder's entries, where its file system can."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
