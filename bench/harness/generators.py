# SPDX-License-Identifier: BSD-3-Clause
# The two load generators: strait-generator, whose frames are built once, and testpmd's flowgen,
# which is what published comparisons use. Each runs once against a running switch and tells what
# arrived.

import json
import shutil
import time

from .machine import BenchError, Child, stolen, thread_pinned_to, waited


class Watch:
    """Looks on while a run is counted: CPU time that the worker and the generator were denied."""

    def __init__(self, switch, generator_pid, settings):
        self.worker = thread_pinned_to(switch.pid(), settings.worker_cpu)
        self.generator = thread_pinned_to(generator_pid, settings.other_cpu)
        self.start = time.monotonic()
        self.worker_waited = waited(self.worker)
        self.generator_waited = waited(self.generator)
        self.stolen = stolen()

    def end(self):
        seconds = time.monotonic() - self.start
        return {
            "worker_denied": (waited(self.worker) - self.worker_waited) / 1e9 / seconds,
            "generator_denied": (waited(self.generator) - self.generator_waited) / 1e9 / seconds,
            "stolen": (stolen() - self.stolen) / seconds,
        }


def strait_generator(switch, settings, *, seconds, warm_up, during=None, frame=64, macs=2,
                     rewrite=0, packed=0, in_order=1, mergeable=1, vectorized=0, queue_size=256,
                     direction="both", rate=0.0, latency=False):
    """One run of strait-generator. `during` is called while frames are counted."""
    words = [str(settings.programs / "strait-generator"),
             "--socket-a", switch.sockets[0], "--socket-b", switch.sockets[1],
             "--cpu", str(settings.other_cpu), "--frame", str(frame), "--macs", str(macs),
             "--rewrite", str(rewrite),
             "--packed", str(packed), "--in-order", str(in_order), "--mergeable", str(mergeable),
             "--vectorized", str(vectorized), "--queue-size", str(queue_size),
             "--direction", direction, "--rate", f"{rate:.6f}", "--seconds", str(seconds),
             "--warm-up", str(warm_up), "--hold"]
    words += ["--server"] if switch.server else []
    words += ["--latency"] if latency else []
    words += [] if settings.huge else ["--no-huge"]
    child = Child(words, cpus=[settings.other_cpu])
    try:
        child.wait_for(r'"event":"measure_begin"', warm_up + 60)
        watch = Watch(switch, child.pid, settings)
        switch.begin()
        if during:
            during(seconds)
        child.wait_for(r'"event":"measure_end"', seconds + 60)
        # The generator holds the load while the switch is asked.
        told = {**switch.end(), **watch.end()}
        child.say("\n")
        child.wait_for(r'"event":"result".*\n', 20)
        child.finish(10)
    finally:
        child.end()
    line = next(line for line in child.output.splitlines() if '"event":"result"' in line)
    result = json.loads(line)
    if result["corrupt"]:
        raise BenchError(f"{result['corrupt']} of {result['checked']} compared frames arrived "
                         f"changed")
    if not result["checked"] and result["mpps"] > 0.001:
        raise BenchError("no frame was compared")
    return {**told, "mpps": result["mpps"], "generator": result,
            "p99": result.get("latency_us", {}).get("p99"),
            "p50": result.get("latency_us", {}).get("p50"),
            "p999": result.get("latency_us", {}).get("p999")}


def flowgen(switch, settings, *, seconds, warm_up, packed=0, in_order=1, mergeable=1,
            queue_size=256):
    """One run of testpmd's flowgen: its own 64-byte frames, one source address for both ends."""
    if not shutil.which("dpdk-testpmd"):
        raise BenchError("dpdk-testpmd is not installed (Debian: apt-get install dpdk-dev)")
    cpus = sorted({settings.worker_cpu, settings.other_cpu})
    memory = ["--in-memory", "--single-file-segments"] if settings.huge else \
        ["--no-huge", "-m", "1024"]
    ends = []
    for number, socket in enumerate(switch.sockets):
        text = (f"net_virtio_user{number},path={socket},queue_size={queue_size},"
                f"packed_vq={packed},in_order={in_order},mrg_rxbuf={mergeable}")
        ends += ["--vdev", text + (",server=1" if switch.server else "")]
    child = Child(
        ["dpdk-testpmd", "-l", ",".join(map(str, cpus)), "--main-lcore", str(settings.worker_cpu),
         "--no-pci", "--file-prefix", switch.folder.path.name + "g", *memory, *ends,
         "--", "-i", "--nb-cores=1", "--forward-mode=flowgen",
         f"--rxd={queue_size}", f"--txd={queue_size}"],
        cpus=cpus, name="flowgen")
    try:
        child.wait_for(r"testpmd> ", 60)
        child.ask("start", r"testpmd> ")

        def rates():
            text = child.ask("show port stats all", r"(?s)port 1 .*Tx-pps.*testpmd> ")
            found = [int(line.split()[1]) for line in text.splitlines() if "Rx-pps:" in line]
            if len(found) != 2:
                raise BenchError(f"flowgen told of {len(found)} ports")
            return sum(found) / 1e6

        # A switch that connects to the generator takes a moment to see its socket.
        end = time.monotonic() + 15
        rates()
        time.sleep(max(0.1, warm_up))
        while rates() < 0.001:
            if time.monotonic() > end:
                raise BenchError("no frame of flowgen came through the switch within 15 s")
            time.sleep(0.2)
        watch = Watch(switch, child.pid, settings)
        rates()
        switch.begin()
        time.sleep(seconds)
        told = {**switch.end(), **watch.end()}
        mpps = rates()
        child.say("quit\n")
        child.finish(5)
    finally:
        child.end()
    return {**told, "mpps": mpps}


GENERATORS = {"strait": strait_generator, "flowgen": flowgen}
