# SPDX-License-Identifier: BSD-3-Clause
"""The guests' kernel and initial file system, built once and kept in the user's cache folder.

Debian's kernel package is downloaded and unpacked there, never installed.
"""

import fcntl
import glob
import gzip
import hashlib
import io
import lzma
import os
import pathlib
import shutil
import stat
import subprocess
import threading

from .errors import LabError, Unavailable

_MODULES = ["virtio_pci", "virtio_net", "virtio_console", "8021q", "virtio_rng"]
_HERE = pathlib.Path(__file__).resolve().parent


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "strait"


def _run(argv, **options):
    done = subprocess.run(argv, capture_output=True, text=True, **options)
    if done.returncode:
        raise LabError(f"{' '.join(map(str, argv))}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


_shared = None
_shared_lock = threading.Lock()


def assets(progress=lambda line: None):
    """This process's Assets, made at the first call."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Assets(progress)
        return _shared


class Assets:
    """Paths of kernel, initrd and busybox; the first use on a machine downloads about 70 MB."""

    def __init__(self, progress=lambda line: None):
        self._progress = progress
        self.folder = cache_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.busybox = self._busybox()
            self.kernel_root = self._kernel_root()
            self.release = os.listdir(self.kernel_root / "lib/modules")[0]
            self.kernel = self._vmlinux()
            self.initrd = self._initrd()

    def _download(self, package, root):
        """Unpacks a package of Debian's under root."""
        download = root / "download"
        download.mkdir(parents=True)
        try:
            try:
                _run(["apt-get", "download", package], cwd=download)
            except LabError:
                _run(["apt-get", "update"])
                _run(["apt-get", "download", package], cwd=download)
        except LabError as error:
            raise Unavailable(f"{package} cannot be downloaded: {error}") from None
        _run(["dpkg", "-x", glob.glob(str(download / "*.deb"))[0], root])
        shutil.rmtree(download)

    def _busybox(self):
        # Not installed: the package would push busybox, which Debian's initramfs-tools uses, out.
        root = self.folder / "busybox"
        if not (root / "done").exists():
            shutil.rmtree(root, ignore_errors=True)
            self._download("busybox-static", root)
            (root / "done").touch()
        return root / "bin/busybox"

    def _kernel_root(self):
        kept = sorted(self.folder.glob("kernel-*/done"))
        if kept:
            return kept[-1].parent
        package = self._kernel_package()
        if not package:
            _run(["apt-get", "update"])
            package = self._kernel_package()
        if not package:
            raise Unavailable("apt knows no linux-image-amd64 for the guests' kernel")
        root = self.folder / f"kernel-{package.removeprefix('linux-image-')}"
        shutil.rmtree(root, ignore_errors=True)
        self._progress(f"downloading {package}, the guests' kernel (about 70 MB)")
        self._download(package, root)
        _run(["depmod", "-b", root, os.listdir(root / "lib/modules")[0]])
        (root / "done").touch()
        return root

    @staticmethod
    def _kernel_package():
        known = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True,
                               text=True, check=False)
        return next((line.split()[1] for line in known.stdout.splitlines()
                     if "Depends: linux-image-" in line), None)

    def _vmlinux(self):
        # QEMU boots an ELF image by its PVH entry: without the decompressor, which is slow when
        # emulated.
        plain = self.kernel_root / "vmlinux"
        if not plain.exists():
            packed = (self.kernel_root / f"boot/vmlinuz-{self.release}").read_bytes()
            start = packed.find(b"\xfd7zXZ\x00")
            if start < 0:
                raise LabError(f"{self.kernel_root}/boot: the kernel is not packed by xz")
            image = lzma.LZMADecompressor().decompress(packed[start:])
            if not image.startswith(b"\x7fELF"):
                raise LabError(f"{self.kernel_root}/boot: no ELF image in the kernel")
            partial = plain.with_suffix(".partial")
            partial.write_bytes(image)
            partial.rename(plain)
        return plain

    def _initrd(self):
        init = (_HERE / "guest_init.sh").read_bytes()
        busybox = self.busybox.read_bytes()
        modules = []
        for module in _MODULES:
            for line in _run(["modprobe", "-d", self.kernel_root, "-S", self.release,
                              "--show-depends", module]).splitlines():
                words = line.split()
                if words and words[0] == "insmod" and words[1] not in modules:
                    modules.append(words[1])
        key = hashlib.sha256(init + busybox + "\n".join(modules).encode()).hexdigest()[:16]
        path = self.folder / f"initrd-{self.release}-{key}.gz"
        if path.exists():
            return path
        archive = io.BytesIO()
        count = 0

        def add(name, mode, data=b""):
            nonlocal count
            count += 1
            encoded = name.encode() + b"\0"
            fields = (count, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
            entry = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
            archive.write(entry + b"\0" * (-len(entry) % 4) + data + b"\0" * (-len(data) % 4))

        for folder in ("bin", "dev", "etc", "modules", "proc", "root", "run", "sys", "tmp"):
            add(folder, stat.S_IFDIR | 0o755)
        add("bin/busybox", stat.S_IFREG | 0o755, busybox)
        add("init", stat.S_IFREG | 0o755, init)
        for number, module in enumerate(modules):
            add(f"modules/{number:02}-{os.path.basename(module)}", stat.S_IFREG | 0o644,
                pathlib.Path(module).read_bytes())
        add("TRAILER!!!", 0)
        partial = path.with_suffix(".partial")
        partial.write_bytes(gzip.compress(archive.getvalue(), 1))
        partial.rename(path)
        return path
