# SPDX-License-Identifier: BSD-3-Clause
# The two load generators: strait-generator, whose frames are built once, and testpmd's flowgen,
# which is what published comparisons use. Each is started once beside a running switch, measures as
# often as it is asked, and in between sends nothing and takes no CPU.

import json
import shutil
import signal
import time

from .machine import BenchError, Child, Unpinned, stolen, thread_pinned_to, waited


class Watch:
    """Looks on while a run is counted: CPU time that the worker and the generator were denied."""

    def __init__(self, worker, generator):
        self.worker = worker
        self.generator = generator
        self.start = time.monotonic()
        self.worker_waited = waited(self.worker) if self.worker else 0
        self.generator_waited = waited(self.generator)
        self.stolen = stolen()

    def denied_us(self):
        """How long the worker or the generator waited for its CPU, all waits together."""
        return max(waited(self.worker) - self.worker_waited if self.worker else 0,
                   waited(self.generator) - self.generator_waited) / 1000

    def end(self):
        seconds = time.monotonic() - self.start
        return {
            "worker_denied": ((waited(self.worker) - self.worker_waited) / 1e9 / seconds
                              if self.worker else 0.0),
            "generator_denied": (waited(self.generator) - self.generator_waited) / 1e9 / seconds,
            "stolen": (stolen() - self.stolen) / seconds,
        }


def _line(step):
    """The first line of a step."""
    return " ".join(f"{name.replace('_', '-')}={value:.9g}" for name, value in step.items()) + "\n"


class Generator:
    """A generator that is ready: `measure` is one turn of traffic."""

    def __init__(self, switch, settings, seconds, warm_up):
        self.switch = switch
        self.settings = settings
        self.seconds = seconds
        self.warm_up = warm_up
        self.child = None
        self._unpinned = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.end()

    def threads(self):
        """The worker's, None if it is the kernel, whose work is no thread of its own; and the
        generator's."""
        switch, settings = self.switch, self.settings
        return self._unpinned or (
            thread_pinned_to(switch.pid(), settings.worker_cpu) if switch.process() else None,
            thread_pinned_to(self.child.pid, settings.other_cpu))

    def unpin(self):
        """Lets both run on either's CPU, until the end() of what this returns."""
        self._unpinned = self.threads()  # which their CPUs will not tell any more
        return Unpinned(filter(None, self._unpinned),
                        {self.settings.worker_cpu, self.settings.other_cpu})

    def measure(self):
        """What arrived and what the switch told of its work."""
        raise NotImplementedError


class StraitGenerator(Generator):
    def __init__(self, switch, settings, *, seconds, warm_up, frame=64, macs=2, rewrite=0,
                 packed=0, in_order=1, mergeable=1, queue_size=256,
                 direction="both", rate=0.0, latency=0, flows=0, flow_kind="5tuple",
                 order="uniform", ip=4, protocol="udp", tso=0, filled_in=0, new_flows=0, prime=1,
                 interval=0, steps=True, sequence=False, verify_every=64, pattern=None,
                 patience=15, reconnect=False):
        super().__init__(switch, settings, seconds, warm_up)
        self._compares = verify_every != 0
        self._pattern = pattern
        places = switch.places()
        words = [settings.program("strait-generator"),
                 "--end-a", places[0], "--end-b", places[1],
                 "--cpu", str(settings.other_cpu), "--frame", str(frame), "--macs", str(macs),
                 "--rewrite", str(rewrite),
                 "--packed", str(packed), "--in-order", str(in_order),
                 "--mergeable", str(mergeable),
                 "--queue-size", str(queue_size),
                 "--direction", direction, "--rate", f"{rate:.6f}", "--seconds", str(seconds),
                 "--warm-up", str(warm_up), "--latency", str(latency)]
        for place in places[2:]:
            words += ["--end", place]
        # What is under way to many ends when sending stops is to be counted, and not in the next
        # round, even if the switch is kept from its CPU for a while.
        words += ["--pattern", pattern, "--settle", "1"] if pattern else []
        words += ["--steps"] if steps else []
        words += ["--server"] if switch.server else []
        words += ["--reconnect"] if reconnect else []
        words += ["--turned"] if switch.turns else []
        words += ["--sequence"] if sequence else []
        words += ["--verify-every", str(verify_every)]
        if flows:
            words += ["--flows", str(flows), "--flow-kind", flow_kind, "--order", order,
                      "--new-flows", str(new_flows)]
        words += ["--ip", str(ip), "--protocol", protocol]
        words += ["--tso", str(tso), "--filled-in", str(filled_in)] if tso else []
        words += ["--ready-timeout", str(patience), *switch.generator_words()]
        words += ["--prime", str(prime), "--interval", str(interval)]
        words += [] if settings.huge else ["--no-huge"]
        self.child = Child(switch.inside(words), cpus=[settings.other_cpu],
                           name="strait-generator")
        try:
            # Its patience for each end to connect, one after the other, and for the first frame,
            # and what it takes to send of all flows or addresses.
            self.child.wait_for(r'"event":"ready"', (len(places) + 2) * patience +
                                0.001 * max(flows, macs) + 10)
        except BaseException:
            self.child.end()
            raise

    def result(self, timeout):
        """Of one that was started without steps: what came of its one measurement."""
        return self._checked(self.child.wait_for(r'\{"event":"result".*\n', timeout).group(0))

    def measure(self, during=None, **step):
        """`during` is called, with the seconds that are counted, while frames are. `step` is what
        is other from here on: rate, seconds, warm_up, latency."""
        child = self.child
        start = len(child.output)
        dropped = self.switch.dropped() if self._pattern else None
        self.seconds = step.get("seconds", self.seconds)
        child.say(_line(step))
        child.wait_for(r'"event":"warm"', self.warm_up + 60, start)
        watch = Watch(*self.threads())
        self.switch.begin()
        child.say("\n")
        if during:
            child.wait_for(r'"event":"measure_begin"', 60, start)
            during(self.seconds)
        child.wait_for(r'"event":"measure_end"', self.seconds + 60, start)
        # The load is held while the switch is asked.
        told = {**self.switch.end(), **watch.end()}
        child.say("\n")
        result = self._result_from(start, 20)
        latency = result.get("latency_us", {})
        ends = result.get("ends") or [result["a_to_b"], result["b_to_a"]]
        return {**told, "mpps": result["mpps"],
                "gbps": sum(one["gbps"] for one in ends),
                "ceiling_mpps": result.get("ceiling_mpps"),
                "generator": result,
                **{key: latency.get(key) for key in ("p50", "p90", "p99", "p999")},
                **result.get("sequence", {}), **self._of_paths(result, dropped)}

    def _of_paths(self, result, dropped_before):
        """How those of more than two ends shared the switch, and whether it knows what it lost."""
        if not self._pattern:
            return {}
        out = {"fairness": result["fairness"],
               "least_share": 100 * min(one["share"] for one in result["paths"]),
               "loss": 100 * result["loss"]}
        if dropped_before is not None:
            dropped = self.switch.dropped() - dropped_before
            out |= {"switch_dropped": dropped,
                    "unaccounted": abs(sum(one["lost"] for one in result["paths"]) - dropped)}
        return out

    def trial(self, rate, seconds):
        """Frames at a rate for so long: what the generator counted of all of them, and for how long
        one side was kept from its CPU."""
        watch = Watch(*self.threads())
        start = len(self.child.output)
        self.child.say(_line({"rate": rate, "seconds": seconds, "warm_up": 0, "frames": 0,
                              "latency": 0})
                       + "\n\n")
        return {**self._result_from(start, seconds + 60), "denied_us": watch.denied_us()}

    def burst(self, frames):
        """So many frames in each direction as fast as they go."""
        start = len(self.child.output)
        self.child.say(_line({"rate": 0, "frames": frames}))
        return self._result_from(start, 60)

    def _result_from(self, start, timeout):
        return self._checked(self.child.wait_for(r'\{"event":"result".*\n', timeout,
                                                 start).group(0))

    def _checked(self, line):
        result = json.loads(line)
        if result["corrupt"]:
            raise BenchError(f"{result['corrupt']} of {result['checked']} compared frames arrived "
                             f"changed")
        # Of the counted time, as what was compared is: in it there may be nothing, where the switch
        # had no CPU.
        ends = result.get("ends") or [result["a_to_b"], result["b_to_a"]]
        many = sum(one["received"] for one in ends) > 1000 and result["seconds"] > 0.01
        if self._compares and many and not result["checked"]:
            raise BenchError("no frame was compared")
        return result


class Flowgen(Generator):
    """testpmd's flowgen: its own 64-byte frames, one source address for both ends."""

    def __init__(self, switch, settings, *, seconds, warm_up, packed=0, in_order=1, mergeable=1,
                 queue_size=256):
        super().__init__(switch, settings, seconds, warm_up)
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
        self.child = Child(
            ["dpdk-testpmd", "-l", ",".join(map(str, cpus)),
             "--main-lcore", str(settings.worker_cpu),
             "--no-pci", "--file-prefix", switch.folder.path.name + "g", *memory, *ends,
             "--", "-i", "--nb-cores=1", "--forward-mode=flowgen",
             f"--rxd={queue_size}", f"--txd={queue_size}"],
            cpus=cpus, name="flowgen")
        try:
            self.child.wait_for(r"testpmd> ", 60)
            self.child.ask("start", r"testpmd> ")
            # A switch that connects to the generator takes a moment to see its socket.
            end = time.monotonic() + 15
            self._rates()
            while self._rates() < 0.001:
                if time.monotonic() > end:
                    raise BenchError("no frame of flowgen came through the switch within 15 s")
                time.sleep(0.2)
            self.child.process.send_signal(signal.SIGSTOP)
        except BaseException:
            self.child.end()
            raise

    def __exit__(self, *_):
        self.child.process.send_signal(signal.SIGCONT)
        super().__exit__()

    def _rates(self):
        """Million frames a second that arrived since it was asked last."""
        text = self.child.ask("show port stats all", r"(?s)port 1 .*Tx-pps.*testpmd> ")
        found = [int(line.split()[1]) for line in text.splitlines() if "Rx-pps:" in line]
        if len(found) != 2:
            raise BenchError(f"flowgen told of {len(found)} ports")
        return sum(found) / 1e6

    def measure(self):
        self.child.process.send_signal(signal.SIGCONT)
        try:
            time.sleep(self.warm_up)
            watch = Watch(*self.threads())
            self.switch.begin()
            self._rates()
            time.sleep(self.seconds)
            mpps = self._rates()
            return {**self.switch.end(), **watch.end(), "mpps": mpps}
        finally:
            self.child.process.send_signal(signal.SIGSTOP)


GENERATORS = {"strait": StraitGenerator, "flowgen": Flowgen}
