# SPDX-License-Identifier: BSD-3-Clause
"""dpdk-testpmd: as a guest (virtio-user) that makes or takes packets, and as a peer switch; in a
machine as the back end of two VMMs."""

import itertools
import os
import pathlib
import re
import shlex
import shutil
import signal
import tempfile

from .errors import LabError, Unavailable
from .process import Process, wait_until

_PROMPT = "testpmd> "


class Testpmd:
    """An interactive testpmd with the given --vdev arguments; forwarding starts with start().

    cpus: one for the main thread and one for each forwarding core. Without huge pages (huge=False)
    memory is ordinary and shared by memfd, which virtio-user needs.
    """

    _numbers = itertools.count(1)

    def __init__(self, vdevs, mode="io", cpus="0,1", huge=False, memory_mib=128, arguments=(),
                 name=None, timeout=30):
        if shutil.which("dpdk-testpmd") is None:
            raise Unavailable("testpmd is not installed (apt-get install dpdk-dev)")
        self.name = name or f"testpmd{next(Testpmd._numbers)}"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"strait-{self.name}-"))
        self._prefix = f"strait-{os.getpid()}-{self.name}"
        # Without line buffering, what a command prints comes after the next prompt.
        argv = ["stdbuf", "-oL", "dpdk-testpmd", "-l", cpus, "--no-pci", "--no-telemetry",
                f"--file-prefix={self._prefix}"]
        # Without single-file segments a virtio-user device has too many memory regions to share.
        argv += (["--in-memory", "--single-file-segments", "-m", str(memory_mib)] if huge
                 else ["--no-huge", "-m", str(memory_mib)])
        for vdev in vdevs:
            argv.append(f"--vdev={vdev}")
        argv += ["--", "-i", f"--nb-cores={len(cpus.split(',')) - 1}", f"--forward-mode={mode}",
                 "--no-lsc-interrupt", "--disable-link-check", "--total-num-mbufs=8192" if not huge
                 else "--total-num-mbufs=16384", *arguments]
        self._seen = 0
        self.process = Process(argv, self.folder / "log", name=self.name, stdin=True)
        try:
            self._answer(timeout)
        except BaseException:
            self.close()
            raise

    @classmethod
    def guest(cls, path, mac, mode="rxonly", server=False, packed=False, mergeable=True,
              in_order=True, vectorized=False, queue_size=256, device="", **options):
        """One virtio-user port on the vhost-user socket at path."""
        flag = {True: 1, False: 0}
        vdev = (f"net_virtio_user0,path={path},mac={mac},queue_size={queue_size},"
                f"packed_vq={flag[packed]},mrg_rxbuf={flag[mergeable]},in_order={flag[in_order]},"
                f"vectorized={flag[vectorized]}"
                + (",server=1" if server else "") + (f",{device}" if device else ""))
        return cls([vdev], mode=mode, **options)

    def _answer(self, timeout, echo=""):
        # Log lines may come before and after a prompt: what counts is the prompt after the echo.
        def prompted():
            text = self.process.log()
            begin = text.find(echo, self._seen)
            end = text.find(_PROMPT, begin + len(echo)) if begin >= 0 else -1
            if end >= 0:
                self._seen = end + len(_PROMPT)
                return (text[begin + len(echo):end],)
            self.process.check_running()
            return None
        try:
            return wait_until(prompted, timeout, f"{self.name}: a prompt")[0]
        except LabError as error:
            raise LabError(f"{error}\n{self.process.log_tail()}") from None

    def command(self, line, timeout=20):
        """Types a line at testpmd's prompt and returns what it printed."""
        try:
            self.process.write(line + "\n")
        except BrokenPipeError:
            self.process.check_running()
            raise
        return self._answer(timeout, line + "\n")

    def start(self, mode=None, first_burst=False):
        """Starts forwarding; first_burst sends one burst first, to set io or macswap in motion."""
        if mode:
            self.command(f"set fwd {mode}")
        return self.command("start tx_first" if first_burst else "start")

    def stop(self):
        return self.command("stop")

    def stats(self, port=0):
        """Counters of a port as testpmd shows them: rx_packets, rx_missed, tx_bytes, ..."""
        text = self.command(f"show port stats {port}")
        counters = {}
        for word, value in re.findall(r"([RT]X-\w+): *(\d+)", text):
            counters[word.replace("-", "_").lower()] = int(value)
        if "rx_packets" not in counters:
            raise LabError(f"{self.name}: no counters in {text[-500:]!r}")
        return counters

    def link_up(self, port=0):
        return "Link status: up" in self.command(f"show port info {port}")

    def wait_link(self, timeout=5, port=0):
        wait_until(lambda: self.link_up(port), timeout, f"{self.name}: link up", 0.1)

    def kill(self):
        """SIGKILL, as when a guest dies in the middle of a burst."""
        self.process.kill()
        self._forget()

    def quit(self, timeout=10):
        try:
            self.process.write("quit\n")
        except BrokenPipeError:
            pass
        self.process.wait(timeout)
        self._forget()

    def pause(self):
        self.process.signal(signal.SIGSTOP)

    def resume(self):
        self.process.signal(signal.SIGCONT)

    def _forget(self):
        shutil.rmtree(f"/var/run/dpdk/{self._prefix}", ignore_errors=True)

    def close(self):
        self.process.kill()
        self._forget()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class MachineTestpmd:
    """testpmd in a machine, its two vhost-user ports at the sockets, where it listens: what comes
    from queue n at the one leaves by queue n at the other. It polls on the machine's first CPU."""

    def __init__(self, machine, sockets, queues=1):
        self._machine = machine
        if shutil.which("dpdk-testpmd") is None:
            raise Unavailable("testpmd is not installed (apt-get install dpdk-dev)")
        log = machine.logs / "testpmd.log"
        ports = [f"--vdev=net_vhost{port},iface={path},queues={queues}"
                 for port, path in enumerate(sockets)]
        # With its statistics it does not end with its standard input.
        self._pid = machine.spawn(shlex.join([
            "nice", "-n", "19", "dpdk-testpmd", "--lcores", "0@0,1@0", "--no-pci", "--no-telemetry",
            "--no-huge", "-m", "256", *ports, "--", "--nb-cores=1", f"--rxq={queues}",
            f"--txq={queues}", "--total-num-mbufs=8192", "--no-lsc-interrupt",
            "--disable-link-check", "--stats-period=600"]), log.name)
        if machine.run(" && ".join(f"until [ -S {path} ]; do busybox usleep 50000; done"
                                   for path in sockets), 60)[0]:
            raise LabError(f"testpmd does not listen:\n{log.read_text(errors='replace')[-2000:]}")

    def close(self):
        if self._machine.alive(self._pid):
            self._machine.kill(self._pid)
