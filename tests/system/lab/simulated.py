# SPDX-License-Identifier: BSD-3-Clause
"""A simulated hypervisor with guests whose IP stack is a network namespace's."""

import itertools
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile

from .errors import LabError
from .netns import Netns
from .process import Process, wait_until
from .switch import binaries


class Simulator:
    """strait-xen-simulator, and strait-xen-tools to make its domains.

    A switch serves its guests when it is started with the arguments in `switch`. faults is what
    the simulator's --faults takes, as a dictionary.
    """

    def __init__(self, faults=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="strait-xen-"))
        self.socket = self.folder / "xen"
        self.switch = ("--xen", f"simulated:{self.socket}")
        argv = [binaries() / "strait-xen-simulator", "--socket", self.socket]
        if faults:
            (self.folder / "faults").write_text(json.dumps(faults))
            argv += ["--faults", self.folder / "faults"]
        self.process = Process(argv, self.folder / "log", name="strait-xen-simulator")
        self.process.wait_log("listening on", 10)

    def tools(self, *words):
        """Runs strait-xen-tools; LabError if it is refused."""
        words = [str(word) for word in words]
        done = subprocess.run([binaries() / "strait-xen-tools", "--socket", self.socket, *words],
                              capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise LabError(f"strait-xen-tools {' '.join(words)}: {done.stderr.strip()}")

    def close(self):
        self.process.terminate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class SimulatedGuest(Netns):
    """A domain with one network device: strait-xen-guest runs the front end in a namespace.

    bridge is what the domain's configuration has in vif=['bridge=...']. arguments are further ones
    of strait-xen-guest. The device's interface is eth0; address as Netns.configure() takes it.
    """

    _domains = itertools.count(1)

    def __init__(self, simulator, address=None, mac=None, bridge="br0", mtu=None, arguments=()):
        super().__init__()
        self.simulator = simulator
        self.domain = next(SimulatedGuest._domains)
        self.port = f"vif{self.domain}.0"  # as an adopting switch names it
        self._cidr, self._mtu, self._arguments = address, mtu, arguments
        self._bridge = bridge
        self._mac = mac or f"00:16:3e:00:{self.domain >> 8:02x}:{self.domain & 255:02x}"
        self.process = None
        self.boot()

    def boot(self):
        """Makes the domain, its device and its process; the link comes up when it is served."""
        self.simulator.tools("create", self.domain)
        self.simulator.tools("attach", self.domain, 0, "--mac", self._mac, "--bridge", self._bridge)
        self.process = Process(
            self.argv(binaries() / "strait-xen-guest", "--socket", self.simulator.socket,
                      "--domain", self.domain, "--mode", "tap", "--tap", "eth0",
                      *self._arguments),
            self.folder / "guest.log", name=f"simulated guest {self.domain}")

    def wait_up(self, timeout=10):
        """Waits until the device is connected, then configures its interface."""
        self.process.wait_log('"event":"connected"', timeout)
        return self.configure("eth0", self._cidr, self._mtu)

    def kill(self):
        """SIGKILL, as when a domain crashes; it ends with its only process."""
        self.process.kill()

    def rebind(self):
        """The driver lets go of the device and takes it up again."""
        events = self.process.log().count('"event":"connected"')
        self.process.signal(signal.SIGUSR1)
        wait_until(lambda: self.process.log().count('"event":"connected"') > events, 10,
                   f"the device of domain {self.domain} connected again")

    def report(self):
        """Ends the guest and returns what its front end counted."""
        self.process.terminate()
        return json.loads(self.process.log().splitlines()[-1])

    def close(self):
        self.process.kill()
        super().close()
