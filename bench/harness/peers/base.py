# SPDX-License-Identifier: BSD-3-Clause
# What a switch under comparison is to the rest: a plug-in that starts, is configured, tells of its
# cycles if it can, and stops. Each has a file of its own here, and a place in PEERS.

import signal

from ..machine import Namespace, RunFolder

VHOST, XEN, TAP = "vhost", "xen", "tap"
ENDS_IN_WORDS = {VHOST: "a KVM guest", XEN: "a Xen guest", TAP: "a wire"}
USUAL_MTU = 1500


class Settings:
    """What is the same for every switch of a comparison."""

    def __init__(self, worker_cpu, other_cpu, huge, programs, guest_cpu=None):
        self.worker_cpu = worker_cpu
        self.other_cpu = other_cpu
        self.guest_cpu = other_cpu if guest_cpu is None else guest_cpu
        self.huge = huge
        self.programs = programs

    def program(self, name):
        return str(self.programs.path(name))


class Switch:
    """A running switch with a port for each of `ends`, and two more for each of `loops` guests.
    `ends` says what each of the first is for: a KVM guest's vhost-user socket, a simulated Xen
    guest, a wire. `server` tells whether the generator has to listen on sockets, because the switch
    connects."""

    name = ""
    title = ""
    server = False
    # Of ends it has ports for, and which other it takes in the place of one that it has none for.
    kinds = (VHOST,)
    instead = {}
    # Whether it has rules that track connections, and ports for guests that packets go through.
    stateful = False
    chains = False
    # Whether its guests' ports take TCP segments that it would have to cut.
    segments = False
    # Whether guests' ports have several queue pairs.
    multiqueue = False
    # Whether it chooses by address among more than two ports.
    switches = True
    # Whether it can be at the end of a tunnel.
    tunnels = False
    # Debian's packages of it.
    packages = ()
    # The generator is told to expect exchanged MAC addresses.
    turns = False

    def __init__(self, settings, ends=(VHOST, VHOST), mtu=USUAL_MTU, loops=0, queues=1):
        self.settings = settings
        self.mtu = mtu
        self.queues = queues  # pairs of each guest's
        self.ends = tuple(self.instead.get(end, end) for end in ends)
        self.folder = RunFolder()
        numbers = range(1, 1 + max(2, len(self.ends)))
        self.sockets = [str(self.folder.path / f"vm{number}.sock")
                        for number in range(1, numbers.stop + 2 * loops)]
        self.namespace = None
        self.taps = [f"wire{number}" for number in numbers]

    @classmethod
    def missing(cls):
        """Why it cannot be had on this machine, one sentence; None if it can."""

    @classmethod
    def version(cls, _settings):
        """What it says of itself; empty if it says nothing."""
        return ""

    @classmethod
    def cannot(cls, scenario):
        """Why it does not take part in a scenario, one sentence; None if it does."""
        for end in scenario.ends:
            if cls.instead.get(end, end) not in cls.kinds:
                return f"{cls.title} has no port for {ENDS_IN_WORDS[end]}"
        if scenario.stateful and not cls.stateful:
            return f"{cls.title} tracks no connections here"
        if scenario.traffic.get("tso") and not cls.segments:
            return f"{cls.title} takes no segments of 64 KiB as it is started here"
        if scenario.traffic.get("queues", 1) > 1 and not cls.multiqueue:
            return f"{cls.title} has one queue pair a port as it is started here"
        if scenario.traffic.get("tunnel") and not cls.tunnels:
            return f"{cls.title} has no tunnel here"
        if len(scenario.ends) > 2 and not cls.switches:
            return f"{cls.title} sends what comes by a port out of one other, whatever its address"
        if scenario.loops and not cls.chains:
            return f"{cls.title} has no rules here that lead packets through guests"
        return None

    def __enter__(self):
        try:
            if TAP in self.ends:
                self.namespace = Namespace()
                for end, tap in zip(self.ends, self.taps):
                    if end == TAP:
                        self.namespace.add_tap(tap, self.mtu)
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        raise NotImplementedError

    def stop(self):
        """Ends all that start() began, however far it came."""
        try:
            self.end_processes()
        finally:
            if self.namespace:
                self.namespace.close()
            self.folder.cleanup()

    def end_processes(self):
        raise NotImplementedError

    def process(self):
        """Of the worker; None if it is the kernel."""
        raise NotImplementedError

    def pid(self):
        return self.process().pid

    def places(self):
        """The generator's ends, in its words."""
        return [self.place(number) for number in range(len(self.ends))]

    def place(self, number):
        if self.ends[number] == TAP:
            return f"tap:{self.taps[number]}"
        return f"vhost:{self.sockets[number]}"

    def generator_words(self):
        """What the generator has to know beside the places of its ends."""
        return ["--queues", str(self.queues)] if self.queues > 1 else []

    def inside(self, command):
        """The command where its interfaces are."""
        return self.namespace.command(command) if self.namespace else command

    def freeze(self):
        """Stops it where it is, so that another switch may have the worker's CPU."""
        if self.process():
            self.process().send_signal(signal.SIGSTOP)

    def thaw(self):
        if self.process():
            self.process().send_signal(signal.SIGCONT)

    def load_rules(self, text, count):
        """Makes `text`, a flow a line, all the rules there are. A switch without flows takes none:
        it is what others are compared with."""

    def warm_up(self, generator):
        """Called once all flows were sent, before turns count: what it takes until the switch is
        as fast as it gets."""

    def dropped(self):
        """Frames that it could not deliver since its start, by its own count; None if it has none
        of them all."""

    def begin(self):
        """Called when the count begins, under load."""

    def end(self):
        """Called when the count ends, under load: cycles a packet and what else is known."""
        return {}
