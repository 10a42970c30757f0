# SPDX-License-Identifier: BSD-3-Clause
"""A machine that runs Xen: dom0, its guests and the switch in dom0. Nothing here knows a test."""

import itertools
import pathlib
import time

from .assets import assets
from .errors import LabError
from .machine import Machine, MachineGuest, MachineSwitch
from .process import wait_until
from .switch import binaries

_ROOT = pathlib.Path(__file__).resolve().parents[3]


class Xen(Machine):
    """dom0. Boots in about 20 s. Logs are Xen's console and each guest's, too."""

    def __init__(self, logs, guests=4, memory_mib=1920, dom0_mib=832, cpus=2, boot_timeout=180,
                 dom0_cpus=1):
        kept = assets()
        linux = self.command_line("hvc0", SETUP="xen_dom0.sh", LAYER="layer")
        super().__init__("dom0", logs, guests, [
            # A PV dom0 ends at once where SMAP is emulated.
            "-cpu", "max,-smap,-smep", "-smp", str(cpus), "-m", str(memory_mib),
            "-kernel", kept.xen.hypervisor, "-append",
            # With lazy switching of floating-point state it is not preserved when emulated.
            "com1=115200,8n1 console=com1 loglvl=warning guest_loglvl=warning noreboot=1 "
            f"dom0_mem={dom0_mib}M,max:{dom0_mib}M dom0_max_vcpus={dom0_cpus} "
            "spec-ctrl=eager-fpu=1 ucode=no",
            "-initrd", f"{kept.kernel} {linux},{kept.machine_initrd}",
        ], boot_timeout, kept.xen.root)

    def store(self, path):
        """A node of xenstore's, or None."""
        status, value = self.run(f"xenstore-read {path}")
        return None if status else value.rstrip("\n")


class XenGuest(MachineGuest):
    """A Linux guest, created by xl with the given vifs ("mac=...,bridge=br0"), driven over its
    console. The interface of the first gets address, with /24 unless it says otherwise.

    kind is pv or pvh; initrd is its initial file system, if not the usual one; config has further
    lines of its xl.cfg.
    """

    _numbers = itertools.count(1)

    def __init__(self, xen, vifs=(), address=None, kind="pv", memory_mib=128, cpus=1, config=(),
                 name=None, initrd=None, timeout=60):
        super().__init__(xen, name or f"guest{next(XenGuest._numbers)}")
        self.kind = kind
        self._relay = None
        kept = assets()
        command = ("console=hvc0 quiet mitigations=off nokaslr panic=-1 net.ifnames=0 "
                   "sysctl.net.ipv6.conf.default.disable_ipv6=1")
        lines = [f'name="{self.name}"', f'type="{kind}"', f'kernel="{kept.kernel}"',
                 f'ramdisk="{initrd or kept.xen.guest_initrd}"', f'extra="{command}"',
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
        try:
            self._connect(timeout)
            xen.write(self.config, "\n".join(lines))
            xen.sh(f"xl create -q {self.config}", timeout)
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
            self.machine.run(f"kill -- -{self._relay}")
        self.domain = int(self.machine.sh(f"xl domid {self.name}"))
        # xenconsoled hears of a domain when it pleases, which may be after xl has made it.
        node = f"/local/domain/{self.domain}/console/tty"
        tty = wait_until(lambda: self.machine.store(node), 20, f"{self.name}: xenconsoled's {node}",
                         0.1)
        # A virtio port can be opened once.
        self._relay = self.machine.spawn(
            f"sh -c 'exec 3<> {self.port} 4<> {tty}; cat <&3 >&4 & exec cat <&4 >&3'", "relays.log")

    def console(self):
        log = self.machine.logs / f"guests/guest-{self.name}.log"
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
        wait_until(lambda: self.machine.store(state) == "4", timeout,
                   f"{self.name}: the back end of {interface} connecting", 0.2)

    def interface(self, mac, timeout=20):
        """The name of the interface with that address, once there is one."""
        return self.sh(
            f"i=0; until grep -l {mac} /sys/class/net/eth*/address 2> /dev/null; do "
            f"busybox usleep 50000; i=$((i+1)); [ $i -lt {timeout * 20} ] || exit 1; done",
            timeout + 10).split("/")[4]

    def attach(self, vif, timeout=30):
        self.machine.sh(f"xl network-attach {self.name} {vif.replace(',', ' ')}", timeout)

    def detach(self, handle, timeout=30):
        self.machine.sh(f"xl network-detach {self.name} {handle}", timeout)

    def destroy(self, timeout=40):
        """xl destroy: the domain ends between two of its instructions."""
        begin = time.monotonic()
        self.machine.sh(f"xl destroy {self.name}", timeout)
        return time.monotonic() - begin

    def close(self):
        if self._relay:
            self.machine.run(f"kill -- -{self._relay}")
            self._relay = None
        if self._shell:
            self.machine.run(f"xl destroy {self.name} 2> /dev/null", 60)
        self._release()


class XenSwitch(MachineSwitch):
    """straitd in dom0, in its usual run folder, which vif-strait looks for it in."""

    def __init__(self, xen, arguments=(), config=()):
        xen.sh(f"mkdir -p /usr/local/bin && ln -sf {binaries()}/straitctl /usr/local/bin && "
               f"install -m 755 {_ROOT}/packaging/xen/vif-strait /etc/xen/scripts")
        # dom0 has one virtual CPU, and a worker polls on it without a pause: at the priority of the
        # others, each step of xl's and xenstored's would wait for a time slice of its.
        super().__init__(xen, arguments, config, nice=15)


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
