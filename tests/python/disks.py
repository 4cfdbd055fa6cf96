"""Small disks of a test's own, which can be full, and stand still."""

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

# linux/fs.h
FIFREEZE = 0xC0045877
FITHAW = 0xC0045878


class Disk:
    """A file system that is mounted at `path`."""

    def __init__(self, path):
        self.path = Path(path)
        self.ballast = self.path / "ballast"

    def fill(self):
        """Takes all the room that is left."""
        with open(self.ballast, "ab", buffering=0) as ballast:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(b"\0" * size) == size:
                        pass

    def make_room(self):
        self.ballast.unlink()

    def freeze(self):
        """From now on whoever writes waits."""
        self._control(FIFREEZE)

    def thaw(self):
        """Lets those that wait go on; nothing where it does not stand still."""
        try:
            self._control(FITHAW)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise

    def _control(self, request):
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, request, 0)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def tmpfs(path, size):
    """A disk in memory. Skips the test where none can be mounted."""
    with mounted(path, ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"]) as disk:
        yield disk


@contextlib.contextmanager
def ext4(path, size):
    """A disk in a file, which can stand still. Skips the test where none can be mounted."""
    with tempfile.NamedTemporaryFile(prefix="descartes-disk-") as image:
        image.truncate(size)
        skip_unless_done("mkfs.ext4", "-q", "-F", image.name)
        with mounted(path, ["-t", "ext4", "-o", "loop", image.name]) as disk:
            # A server takes every folder for an agent's.
            (disk.path / "lost+found").rmdir()
            try:
                yield disk
            finally:
                disk.thaw()


@contextlib.contextmanager
def mounted(path, arguments):
    skip_unless_done("mount", *arguments, path)
    try:
        os.chmod(path, 0o700)
        yield Disk(path)
    finally:
        # Lazily: what a failed test left open must not leave the disk as well.
        subprocess.run(["umount", "--lazy", path], check=True)


def skip_unless_done(program, *arguments):
    # Where only root has them in the PATH.
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or found is None:
        pytest.skip(f"a disk of the test's own needs root and {program}")
    done = subprocess.run([found, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a disk of the test's own cannot be made here: {done.stderr.strip()}")
