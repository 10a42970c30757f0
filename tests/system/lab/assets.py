# SPDX-License-Identifier: BSD-3-Clause
"""The guests' kernel, Xen, OVS, initial file systems: built once, kept in the user's cache folder.

Debian's packages of them are downloaded and unpacked there, never installed: a hypervisor or a
kernel that is installed is what the machine boots next, and a switch runs at once.
"""

import contextlib
import dataclasses
import fcntl
import functools
import glob
import gzip
import hashlib
import io
import lzma
import os
import pathlib
import re
import shutil
import stat
import subprocess
import threading

from .errors import LabError, Unavailable

_MODULES = ["virtio_pci", "virtio_net", "virtio_console", "8021q", "virtio_rng", "virtio_blk",
            "evdev", "button"]
_XEN_GUEST_MODULES = ["xen-netfront", "8021q"]
_MACHINE_MODULES = ["virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay"]
_XEN_PACKAGES = ["xen-hypervisor-4.17-amd64", "xen-utils-4.17", "xen-utils-common",
                 "xenstore-utils"]
_OVS_PACKAGES = ["openvswitch-switch-dpdk", "openvswitch-switch", "openvswitch-common",
                 "libunbound8", "libevent-2.1-7", "libxdp1"]
# With what of its libraries other packages of the tests do not bring.
_LIBVIRT_PACKAGES = ["libvirt0", "libvirt-daemon", "libssh-4", "libssh2-1", "libyajl2"]
_HERE = pathlib.Path(__file__).resolve().parent


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "strait"


def _run(argv, **options):
    done = subprocess.run(argv, capture_output=True, text=True, **options)
    if done.returncode:
        raise LabError(f"{' '.join(map(str, argv))}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _programs(*names):
    """Of an initial file system: this machine's own programs and their libraries in /opt, where
    nobody looks unasked: where busybox, which is static, finds libraries it loads them, and
    fails."""
    files = {}
    for name in names:
        program = shutil.which(name)
        if program is None:
            raise Unavailable(f"{name} is not installed (apt-get install {name})")
        # "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)", the loader's by its path.
        for path in [program, *re.findall(r"(/\S+) \(0x", _run(["ldd", program]))]:
            files[f"opt/{os.path.basename(path)}"] = pathlib.Path(path)
    return files


def _lacking(package):
    """A package of Debian's with what it needs that is not installed, or not as new."""
    words = ["apt-get", "--simulate", "--no-install-recommends", "install", package]
    try:
        try:
            plan = _run(words)
        except LabError:
            _run(["apt-get", "update"])
            plan = _run(words)
    except LabError as error:
        raise Unavailable(f"{package} cannot be had: {error}") from None
    # "Inst libflac12 (1.4.2 ...)"; what would be upgraded has its version of now in brackets first.
    return re.findall(r"^Inst (\S+) (?:\[\S+\] )?\(", plan, re.M)


_shared = None
_shared_lock = threading.Lock()


def assets(progress=lambda line: None):
    """This process's Assets, made at the first call."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Assets(progress)
        return _shared


@dataclasses.dataclass(frozen=True)
class XenAssets:
    """root has Xen's tools as if installed, for an overlay over a machine's own files."""
    hypervisor: pathlib.Path
    root: pathlib.Path
    guest_initrd: pathlib.Path


class Assets:
    """Paths of kernel, initrd and busybox; the first use on a machine downloads about 70 MB."""

    def __init__(self, progress=lambda line: None):
        self._progress = progress
        self.folder = cache_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self.busybox = self._busybox()
            self.kernel_root = self._kernel_root()
            self.release = os.listdir(self.kernel_root / "lib/modules")[0]
            self.packed_kernel = self.kernel_root / f"boot/vmlinuz-{self.release}"
            self.kernel = self._vmlinux()
            self.initrd = self._initrd("initrd", "guest_init.sh", _MODULES)

    @functools.cached_property
    def ethtool_initrd(self):
        """As initrd, with ethtool."""
        files = _programs("ethtool")
        with self._locked():
            return self._initrd("initrd-ethtool", "guest_init.sh", _MODULES, files)

    @functools.cached_property
    def tools_initrd(self):
        """As initrd, with curl, ethtool and iperf3."""
        files = _programs("curl", "ethtool", "iperf3")
        with self._locked():
            return self._initrd("initrd-tools", "guest_init.sh", _MODULES, files)

    @functools.cached_property
    def traffic_initrd(self):
        """As initrd, with ethtool and qperf: what traffic between two guests is measured by."""
        files = _programs("ethtool", "qperf")
        with self._locked():
            return self._initrd("initrd-traffic", "guest_init.sh", _MODULES, files)

    @functools.cached_property
    def xen_traffic_initrd(self):
        """As xen.guest_initrd, with the same two."""
        files = _programs("ethtool", "qperf") | self._pktgen()
        with self._locked():
            return self._initrd("initrd-xen-traffic", "guest_init.sh", _XEN_GUEST_MODULES, files)

    @functools.cached_property
    def machine_initrd(self):
        """Of a machine that has this one's files; see machine_init.sh."""
        with self._locked():
            return self._initrd("initrd-machine", "machine_init.sh", _MACHINE_MODULES)

    @functools.cached_property
    def xen(self):
        """Xen's; the first use on a machine downloads 4 MB more."""
        with self._locked():
            root = self._xen_root()
            hypervisor = root / "boot/xen"
            if not hypervisor.exists():
                partial = hypervisor.with_suffix(".partial")
                partial.write_bytes(gzip.decompress(
                    next(root.glob("boot/xen-*.gz")).read_bytes()))
                partial.rename(hypervisor)
            return XenAssets(hypervisor, root,
                             self._initrd("initrd-xen", "guest_init.sh", _XEN_GUEST_MODULES,
                                          self._pktgen()))

    def _pktgen(self):
        return {"root/pktgen.ko": next(
            self.kernel_root.glob("lib/modules/*/kernel/net/core/pktgen.ko"))}

    @functools.cached_property
    def ovs(self):
        """The folder that OVS-DPDK is unpacked in; the first use on a machine downloads 5 MB."""
        with self._locked():
            return self._unpacked("ovs", _OVS_PACKAGES, "Open vSwitch with DPDK (5 MB)")

    @functools.cached_property
    def libvirt(self):
        """The folder that libvirt is unpacked in; the first use on a machine downloads 3 MB."""
        with self._locked():
            return self._unpacked("libvirt", _LIBVIRT_PACKAGES, "libvirt (3 MB)")

    @functools.cached_property
    def prometheus(self):
        """The folder that Prometheus is unpacked in; the first use on a machine downloads 19 MB."""
        with self._locked():
            return self._unpacked("prometheus", ["prometheus"], "Prometheus (19 MB)")

    @functools.cached_property
    def chromium(self):
        """The command of a Chromium without a window, unpacked with those of its libraries that the
        machine has not; the first use on a machine downloads 70 MB."""
        with self._locked():
            known = (self.folder / "chromium/done").exists()
            root = self._unpacked("chromium", [] if known else _lacking("chromium-headless-shell"),
                                  "Chromium (70 MB)")
            libraries = root / "usr/lib/x86_64-linux-gnu"
            return ["env", f"LD_LIBRARY_PATH={libraries}:{libraries}/pulseaudio",
                    str(root / "usr/lib/chromium/chromium-headless-shell")]

    def initial_files(self, name, init, modules):
        """Of a guest whose first program is another file, with the modules that are named."""
        with self._locked():
            return self._initrd(name, init, modules)

    @contextlib.contextmanager
    def _locked(self):
        with open(self.folder / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _download(packages, root):
        """Unpacks packages of Debian's under root."""
        download = root / "download"
        download.mkdir(parents=True)
        try:
            try:
                _run(["apt-get", "download", *packages], cwd=download)
            except LabError:
                _run(["apt-get", "update"])
                _run(["apt-get", "download", *packages], cwd=download)
        except LabError as error:
            raise Unavailable(f"{' '.join(packages)} cannot be downloaded: {error}") from None
        for package in glob.glob(str(download / "*.deb")):
            _run(["dpkg", "-x", package, root])
        shutil.rmtree(download)

    def _unpacked(self, name, packages, title=None):
        """A folder of that name with these packages; title is said if they are to be downloaded."""
        root = self.folder / name
        if not (root / "done").exists():
            shutil.rmtree(root, ignore_errors=True)
            if title:
                self._progress(f"downloading {title}")
            self._download(packages, root)
            (root / "done").touch()
        return root

    def _busybox(self):
        # Not installed: the package would push busybox, which Debian's initramfs-tools uses, out.
        return self._unpacked("busybox", ["busybox-static"]) / "bin/busybox"

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
        self._download([package], root)
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
            packed = self.packed_kernel.read_bytes()
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

    def _xen_root(self):
        root = self.folder / "xen-4.17"
        if not (root / "done").exists():
            shutil.rmtree(root, ignore_errors=True)
            self._progress("downloading Xen 4.17 (4 MB)")
            self._download(_XEN_PACKAGES, root)
            # Over a file system where these are links to their namesakes in usr they must be, too.
            for name in ("bin", "lib", "lib64", "sbin"):
                if (root / name).is_dir():
                    shutil.copytree(root / name, root / "usr" / name, symlinks=True,
                                    dirs_exist_ok=True)
                    shutil.rmtree(root / name)
            (root / "done").touch()
        return root

    def _initrd(self, name, init, modules, files=None):
        """The path of an initial file system: busybox, init and shell.sh of this folder, kernel
        modules with all that they need in their order, and files (path in it: path here)."""
        content = {"bin/busybox": self.busybox, "init": _HERE / init,
                   "shell.sh": _HERE / "shell.sh", **(files or {})}
        needed = []
        for module in modules:
            for line in _run(["modprobe", "-d", self.kernel_root, "-S", self.release,
                              "--show-depends", module]).splitlines():
                words = line.split()
                if words and words[0] == "insmod" and words[1] not in needed:
                    needed.append(words[1])
        for number, module in enumerate(needed):
            content[f"modules/{number:02}-{os.path.basename(module)}"] = pathlib.Path(module)
        data = {path: source.read_bytes() for path, source in content.items()}
        key = hashlib.sha256()
        for path, value in data.items():
            key.update(path.encode() + hashlib.sha256(value).digest())
        made = self.folder / f"{name}-{self.release}-{key.hexdigest()[:16]}.gz"
        if made.exists():
            return made
        archive = io.BytesIO()
        count = 0

        def add(entry, mode, value=b""):
            nonlocal count
            count += 1
            encoded = entry.encode() + b"\0"
            fields = (count, mode, 0, 0, 1, 0, len(value), 0, 0, 0, 0, len(encoded), 0)
            head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
            archive.write(head + b"\0" * (-len(head) % 4) + value + b"\0" * (-len(value) % 4))

        folders = {"bin", "dev", "etc", "modules", "proc", "root", "run", "sys", "tmp"}
        for path in data:
            folders.update(map(str, list(pathlib.PurePath(path).parents)[:-1]))
        for folder in sorted(folders):
            add(folder, stat.S_IFDIR | 0o755)
        for path, value in data.items():
            add(path, stat.S_IFREG | 0o755, value)
        add("TRAILER!!!", 0)
        partial = made.with_suffix(".partial")
        partial.write_bytes(gzip.compress(archive.getvalue(), 1))
        partial.rename(made)
        return made
