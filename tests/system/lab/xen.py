# SPDX-License-Identifier: BSD-3-Clause
"""A machine that runs Xen, emulated by QEMU: dom0, its guests and the switch in dom0.

dom0's files are those of this machine (what it writes goes to memory), so that what was built here
runs there by the same path. Nothing here knows a test.
"""

import itertools
import pathlib
import re
import shlex
import shutil
import tempfile
import time

from .assets import assets
from .errors import LabError, Unavailable
from .host import Host
from .process import Process, wait_until
from .shell import Shell
from .switch import Control, binaries

_HERE = pathlib.Path(__file__).resolve().parent
_ROOT = _HERE.parents[2]


class Xen(Host):
    """dom0. Boots on construction, in about 20 s.

    Logs are kept in the folder logs: Xen's console, each guest's, and what is written to /lab in
    dom0. guests is how many there can be at a time.
    """

    def __init__(self, logs, guests=4, memory_mib=1920, dom0_mib=832, cpus=2, boot_timeout=180):
        self.name = "dom0"
        if shutil.which("qemu-system-x86_64") is None:
            raise Unavailable("QEMU is not installed (apt-get install qemu-system-x86)")
        self.logs = pathlib.Path(logs)
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="strait-xen-"))
        self.free_slots = list(range(guests))
        self._shell = None
        begin = time.monotonic()
        self.process = Process(self._argv(guests, memory_mib, dom0_mib, cpus),
                               self.logs / "qemu.log", name="Xen (QEMU)")
        try:
            self._shell = self.shell("dom0", boot_timeout)
            self._shell.wait_up(boot_timeout)
        except LabError as error:
            end = self.console()[-3000:]
            self.close()
            raise LabError(f"dom0 did not boot: {error}\n{end}") from None
        self.boot_seconds = time.monotonic() - begin

    def _argv(self, guests, memory_mib, dom0_mib, cpus):
        kept = assets()
        linux = ("console=hvc0 quiet mitigations=off panic=-1 net.ifnames=0 "
                 "sysctl.net.ipv6.conf.default.disable_ipv6=1 "
                 f"LAB={_HERE} BUSYBOX={kept.busybox} KERNEL={kept.kernel_root}")
        argv = [
            "qemu-system-x86_64", "-name", "xen", "-machine", "q35", "-accel", "tcg,tb-size=512",
            # A PV dom0 ends at once where SMAP is emulated.
            "-cpu", "max,-smap,-smep", "-smp", str(cpus), "-m", str(memory_mib),
            "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
            "-kernel", kept.xen.hypervisor, "-append",
            # With lazy switching of floating-point state it is not preserved when emulated.
            "com1=115200,8n1 console=com1 loglvl=warning guest_loglvl=warning noreboot=1 "
            f"dom0_mem={dom0_mib}M,max:{dom0_mib}M dom0_max_vcpus=1 spec-ctrl=eager-fpu=1 ucode=no",
            "-initrd", f"{kept.kernel} {linux},{kept.xen.dom0_initrd}",
            "-serial", f"file:{self.logs}/console",
            "-device", "virtio-serial-pci",
        ]
        for tag, path, mode in (("host", "/", "readonly=on,multidevs=remap"),
                                ("xen", kept.xen.root, "readonly=on"),
                                ("out", self.logs, "readonly=off")):
            argv += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,{mode}"]
        for name in ("dom0", *(f"guest{slot}" for slot in range(guests))):
            argv += ["-chardev", f"socket,id={name},path={self.folder}/{name},server=on,wait=off",
                     "-device", f"virtserialport,chardev={name},name={name}"]
        return argv

    def shell(self, name, timeout):
        """The shell behind the virtio port of that name."""
        return Shell(name, self.folder / name, self.process.check_running, timeout)

    def run(self, command, timeout=20):
        """As Shell.run()."""
        return self._shell.run(command, timeout)

    def spawn(self, command, log):
        """Begins a command, its output in /lab/log, and returns its process's number."""
        return int(self.sh(f"setsid {command} >> /lab/{log} 2>&1 < /dev/null & echo $!"))

    def kill(self, pid, signal="KILL"):
        """Ends a process and waits until it is gone."""
        self.sh(f"kill -{signal} {pid}; i=0; while {self._alive(pid)}; do "
                f"busybox usleep 20000; i=$((i+1)); [ $i -lt 1000 ] || exit 1; done", 30)

    def alive(self, pid):
        return self.run(self._alive(pid))[0] == 0

    @staticmethod
    def _alive(pid):
        # Not kill -0: it takes one that nobody has waited for yet to be alive.
        return f"[ -e /proc/{pid}/exe ]"

    def console(self):
        """What Xen and dom0's kernel printed."""
        return (self.logs / "console").read_text(errors="replace")

    def store(self, path):
        """A node of xenstore's, or None."""
        status, value = self.run(f"xenstore-read {path}")
        return None if status else value.rstrip("\n")

    def close(self):
        if self._shell:
            self._shell.close()
        self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class XenGuest(Host):
    """A Linux guest, created by xl with the given vifs ("mac=...,bridge=br0"), driven over its
    console. The interface of the first gets address, with /24 unless it says otherwise.

    kind is pv or pvh; config has further lines of its xl.cfg.
    """

    _numbers = itertools.count(1)

    def __init__(self, xen, vifs=(), address=None, kind="pv", memory_mib=128, cpus=1, config=(),
                 name=None, timeout=60):
        self.xen = xen
        self.name = name or f"guest{next(XenGuest._numbers)}"
        self.kind = kind
        self._relay = None
        self._shell = None
        self.address = None
        if not xen.free_slots:
            raise LabError("the Xen machine has no serial port left for another guest")
        self._slot = xen.free_slots.pop()
        kept = assets()
        command = ("console=hvc0 quiet mitigations=off nokaslr panic=-1 net.ifnames=0 "
                   "sysctl.net.ipv6.conf.default.disable_ipv6=1")
        lines = [f'name="{self.name}"', f'type="{kind}"', f'kernel="{kept.kernel}"',
                 f'ramdisk="{kept.xen.guest_initrd}"', f'extra="{command}"',
                 f"memory={memory_mib}", f"vcpus={cpus}", f"vif={list(vifs)!r}".replace("'", '"'),
                 # An emulated machine's time stamps are not offered to PVH guests otherwise.
                 'tsc_mode="native"', 'on_poweroff="destroy"', 'on_reboot="destroy"',
                 'on_crash="destroy"']
        if kind == "pvh":
            # On the first CPU the emulation confuses, once in a while, the registers of such a
            # guest with the hypervisor's: a triple fault, or silence. On others it has never.
            lines.append('cpus="all,^0"')
        lines += config
        self.config = f"/run/{self.name}.cfg"
        text = "\n".join(lines)
        try:
            self._shell = xen.shell(f"guest{self._slot}", timeout)
            self._shell.name = self.name
            xen.sh(f"cat > {self.config} << 'end'\n{text}\nend\n"
                   f"xl create -q {self.config}", timeout)
            self.attach_console()
            try:
                self._shell.wait_up(timeout)
            except LabError as error:
                raise LabError(f"{self.name} did not boot: {error}\n{self.console()}") from None
        except BaseException:
            self.close()
            raise
        if address:
            self.configure(address)

    def attach_console(self):
        """Takes up the console of the domain that has this guest's name now."""
        if self._relay:
            self.xen.run(f"kill -- -{self._relay}")
        self.domain = int(self.xen.sh(f"xl domid {self.name}"))
        port = f"/run/port/guest{self._slot}"
        # xenconsoled hears of a domain when it pleases, which may be after xl has made it.
        node = f"/local/domain/{self.domain}/console/tty"
        tty = wait_until(lambda: self.xen.store(node), 20, f"{self.name}: xenconsoled's {node}",
                         0.1)
        # A virtio port can be opened once.
        self._relay = self.xen.spawn(
            f"sh -c 'exec 3<> {port} 4<> {tty}; cat <&3 >&4 & exec cat <&4 >&3'", "relays.log")

    def run(self, command, timeout=20):
        """As Shell.run()."""
        return self._shell.run(command, timeout)

    def send(self, command, seconds=10):
        """Begins a command without waiting for its end."""
        self._shell.send(command, seconds)

    def console(self):
        log = self.xen.logs / f"guests/guest-{self.name}.log"
        return log.read_text(errors="replace")[-3000:] if log.exists() else ""

    def configure(self, address, interface="eth0"):
        """Gives an interface an address and brings it up, and waits until it is connected; the
        first is this guest's."""
        cidr = address if "/" in address else address + "/24"
        self.sh(f"ip addr add {cidr} dev {interface} && ip link set {interface} up")
        self.wait_connected(interface)
        self.address = self.address or cidr.split("/")[0]

    def wait_connected(self, interface="eth0", timeout=60):
        """Waits until the back end has taken up the interface's rings. The guest itself calls its
        link up before that: what is sent to it until then is dropped."""
        device = self.sh(f"cat /sys/class/net/{interface}/device/nodename").strip()
        state = f"/local/domain/0/backend/vif/{self.domain}/{device.split('/')[-1]}/state"
        wait_until(lambda: self.xen.store(state) == "4", timeout,
                   f"{self.name}: the back end of {interface} connecting", 0.2)

    def interface(self, mac, timeout=20):
        """The name of the interface with that address, once there is one."""
        return self.sh(
            f"i=0; until grep -l {mac} /sys/class/net/eth*/address 2> /dev/null; do "
            f"busybox usleep 50000; i=$((i+1)); [ $i -lt {timeout * 20} ] || exit 1; done",
            timeout + 10).split("/")[4]

    def counters(self, interface="eth0"):
        """The kernel's counters of an interface: rx_packets, tx_bytes, rx_errors, ..."""
        folder = f"/sys/class/net/{interface}/statistics"
        lines = self.sh(f"cd {folder} && for f in *; do echo $f $(cat $f); done").splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}

    def carrier_changes(self, interface="eth0"):
        return int(self.sh(f"cat /sys/class/net/{interface}/carrier_changes"))

    def attach(self, vif, timeout=30):
        self.xen.sh(f"xl network-attach {self.name} {vif.replace(',', ' ')}", timeout)

    def detach(self, handle, timeout=30):
        self.xen.sh(f"xl network-detach {self.name} {handle}", timeout)

    def destroy(self, timeout=40):
        """xl destroy: the domain ends between two of its instructions."""
        begin = time.monotonic()
        self.xen.sh(f"xl destroy {self.name}", timeout)
        return time.monotonic() - begin

    def close(self):
        if self._relay:
            self.xen.run(f"kill -- -{self._relay}")
            self._relay = None
        if self._shell:
            self.xen.run(f"xl destroy {self.name} 2> /dev/null", 60)
            self._shell.close()
            self._shell = None
            self.xen.free_slots.append(self._slot)


class XenSwitch(Control):
    """straitd in dom0, in its usual run folder, which vif-strait looks for it in."""

    def __init__(self, xen, arguments=(), config=()):
        self.xen = xen
        self.run_dir = pathlib.Path("/run/strait")
        self._bin = binaries()
        xen.sh(f"mkdir -p /usr/local/bin && ln -sf {self._bin}/straitctl /usr/local/bin && "
               f"install -m 755 {_ROOT}/packaging/xen/vif-strait /etc/xen/scripts")
        self._arguments = [*arguments]
        self.pid = None
        if config:
            text = "\n".join(config)
            xen.sh(f"cat > /run/strait.conf << 'end'\n{text}\nend")
            self._arguments += ["--config", "/run/strait.conf"]
        self.start()

    def start(self, timeout=60):
        """Starts the daemon and returns when it answers."""
        words = [self._bin / "straitd", "--no-huge", "--memory", "48", *self._arguments]
        # dom0 has one virtual CPU, and a worker polls on it without a pause: at the priority of the
        # others, each step of xl's and xenstored's would wait for a time slice of its.
        command = "nice -n 15 " + " ".join(shlex.quote(str(word)) for word in words)
        self.pid = self.xen.spawn(command, "straitd.log")
        status, output = self.xen.run(
            f"until {self._bin}/straitctl version > /dev/null 2>&1; do "
            f"kill -0 {self.pid} || exit 1; busybox usleep 100000; done", timeout)
        if status:
            raise LabError(f"straitd did not start in dom0: {output}\n{self.log()[-2000:]}")
        return self

    def _ctl(self, words):
        status, output = self.xen.run(" ".join(
            [f"{self._bin}/straitctl", *(shlex.quote(str(word)) for word in words)]), 30)
        return (status, "", output) if status else (status, output, "")

    def log(self):
        path = self.xen.logs / "straitd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_log(self, pattern, timeout=10, begin=0):
        """Waits until what was logged from begin on matches; returns the match."""
        return wait_until(lambda: re.search(pattern, self.log()[begin:]), timeout,
                          f"straitd logging {pattern!r}", 0.1)

    def kill(self):
        """SIGKILL, as when the switch crashes; start() brings it back."""
        self.xen.kill(self.pid)

    def stop(self):
        self.xen.kill(self.pid, "TERM")

    def close(self):
        """Ends the daemon; LabError if it had ended by itself."""
        if not self.xen.alive(self.pid):
            raise LabError(f"straitd had ended in dom0:\n{self.log()[-3000:]}")
        self.stop()


class KernelBackend:
    """The kernel's own xen-netback in dom0, with a bridge of its: what Strait is compared with.

    It takes every vif of dom0, so that straitd must not serve any while it is there.
    """

    bridge = "xenbr0"

    def __init__(self, xen):
        self.xen = xen
        xen.sh(f"ip link add {self.bridge} type bridge && ip link set {self.bridge} up && "
               "modprobe xen-netback max_queues=16")

    def vif(self, mac):
        return f"mac={mac},bridge={self.bridge},script=vif-bridge"

    def close(self):
        self.xen.sh(f"rmmod xen_netback; ip link del {self.bridge}", 40)
