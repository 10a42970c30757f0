# SPDX-License-Identifier: BSD-3-Clause
"""Connection tracking beside Linux's: the same packets go through the switch's tracker and through
netfilter in a network namespace, which writes the state it finds into the packet's DSCP and sends
it back. Each packet must be in the same state to both; where it may not, the reason is here."""

import random
import shutil
import subprocess

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest,
                                ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

import lab as parts
from lab.netns import Netns

NEW, EST, REL, REPLY, INVALID, TRACKED = 1, 2, 4, 8, 16, 32
HERE, THERE = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
CLIENT, SERVER, SEEN_AS = "10.1.0.1", "10.2.0.1", "10.3.0.77"
RULES = """
table {family} states {{
    chain before {{
        type filter hook prerouting priority -100;
        ct state invalid {family} dscp set {invalid}
        ct state new {family} dscp set {new}
        ct state established ct direction original {family} dscp set {est}
        ct state established ct direction reply {family} dscp set {est_reply}
        ct state related ct direction original {family} dscp set {rel}
        ct state related ct direction reply {family} dscp set {rel_reply}
    }}
}}
"""
# DSCP has six bits; what is not tracked has none of these.
CODES = {INVALID: 1, NEW: 2, EST: 3, EST | REPLY: 4, REL: 5, REL | REPLY: 6}


class Netfilter:
    """A router of one interface: what comes in is sent back, its state in its DSCP."""

    def __init__(self):
        self._netns = Netns()
        try:
            self._start()
        except BaseException:
            self._netns.close()
            raise

    def _start(self):
        self._outside = f"cts{self._netns.name.rsplit('-', 1)[-1]}"
        self._netns.veth(self._outside, address="10.0.0.1")
        sh = self._netns.sh
        sh(f"ip link set eth0 address {THERE}")
        for key in ("ip_forward=1", "conf.all.rp_filter=0", "conf.eth0.rp_filter=0",
                    "conf.all.send_redirects=0", "conf.eth0.send_redirects=0"):
            sh(f"sysctl -qw net.ipv4.{key}")
        sh(f"ip neigh add 10.0.0.2 lladdr {HERE} dev eth0")
        for network in ("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"):
            sh(f"ip route add {network} via 10.0.0.2")
        for key in ("all.disable_ipv6=0", "eth0.disable_ipv6=0", "all.forwarding=1",
                    "eth0.accept_ra=0"):
            sh(f"sysctl -qw net.ipv6.conf.{key}")
        sh("ip -6 addr add fd00::1/64 dev eth0 nodad")
        sh(f"ip -6 neigh add fd00::2 lladdr {HERE} dev eth0")
        for network in ("fd01::/16", "fd02::/16", "fd03::/16"):
            sh(f"ip -6 route add {network} via fd00::2 dev eth0")
        done = subprocess.run(self._netns.argv("nft", "-f", "-"), input=self.rules(), text=True,
                              capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"skipped: this kernel has no connection tracking for nft: {done.stderr}")

    @staticmethod
    def rules():
        return "".join(RULES.format(family=family, invalid=CODES[INVALID], new=CODES[NEW],
                                    est=CODES[EST], est_reply=CODES[EST | REPLY], rel=CODES[REL],
                                    rel_reply=CODES[REL | REPLY]) for family in ("ip", "ip6"))

    def states(self, packets):
        """What netfilter says of each packet."""
        meaning = {code: state for state, code in CODES.items()}
        return [meaning.get(frame[IP].tos >> 2 if IP in frame else frame[IPv6].tc >> 2)
                for frame in self.frames(packets)]

    def frames(self, packets):
        """What each packet is when it comes back."""
        from scapy.config import conf
        socket = conf.L2socket(iface=self._outside)
        try:
            frames = []
            for number, packet in enumerate(packets):
                socket.send(packet)
                frames.append(self._answer(socket, number))
            return frames
        finally:
            socket.close()

    @staticmethod
    def _answer(socket, number):
        while True:
            frame = socket.recv()
            if frame is None:
                continue
            if frame.src != THERE:
                continue
            if (frame[IP].id if IP in frame else IPv6 in frame and frame[IPv6].fl) == number + 1:
                return frame

    def close(self):
        self._netns.close()


class Translator(Netfilter):
    """The same, which has CLIENT be SEEN_AS, and knows FTP."""

    @staticmethod
    def rules():
        return f"""
table ip ftp {{
    ct helper standard {{
        type "ftp" protocol tcp;
    }}
    chain before {{
        type filter hook prerouting priority 0;
        tcp dport 21 ct helper set "standard"
    }}
    chain behind {{
        type nat hook postrouting priority 100;
        ip saddr {CLIENT} snat to {SEEN_AS}
    }}
}}
"""


@pytest.fixture
def netfilter(request):
    if shutil.which("nft") is None:
        pytest.skip("skipped: nft is not installed")
    one = getattr(request, "param", Netfilter)()
    yield one
    one.close()


def numbered(packets):
    """Frames, each with its place as its IP identifier, or its flow label."""
    frames = []
    for number, packet in enumerate(packets):
        packet = packet.copy()
        if IP in packet:
            packet[IP].id = number + 1
        else:
            packet[IPv6].fl = number + 1
        frames.append(Ether(bytes(Ether(src=HERE, dst=THERE) / packet)))
    return frames


def tracked(frames, *options):
    """What the switch's tracker prints of each."""
    program = parts.binaries() / "strait-conntrack-states"
    if not program.exists():
        pytest.skip(f"skipped: {program} was not built")
    done = subprocess.run([str(program), *options], text=True, timeout=60, capture_output=True,
                          check=False, input="".join(f"{bytes(frame).hex()}\n" for frame in frames))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def ours(frames):
    """The switch's states."""
    return [int(line) & ~TRACKED if line.isdigit() else line for line in tracked(frames)]


class Talk:
    """A TCP conversation, in which each side says what it likes."""

    def __init__(self, port):
        self.port = port
        self.packets = []

    def client(self, flags, seq, ack=0, data=b"", window=8192, options=()):
        return self._say(CLIENT, SERVER, self.port, 80, flags, seq, ack, data, window, options)

    def server(self, flags, seq, ack=0, data=b"", window=8192, options=()):
        return self._say(SERVER, CLIENT, 80, self.port, flags, seq, ack, data, window, options)

    def handshake(self, options=(), answered=()):
        self.client("S", 999, options=options)
        self.server("SA", 4999, 1000, options=answered)
        return self.client("A", 1000, 5000)

    def _say(self, source, destination, sport, dport, flags, seq, ack, data, window, options):
        self.packets.append(IP(src=source, dst=destination) / TCP(
            sport=sport, dport=dport, flags=flags, seq=seq & 0xffffffff, ack=ack & 0xffffffff,
            window=window, options=list(options)) / Raw(data))
        return self


def conversations():
    number = iter(range(2000, 3000))

    def talk():
        return Talk(next(number))
    data = b"x" * 500
    yield "whole", (talk().handshake().client("PA", 1000, 5000, data).server("A", 5000, 1500)
                    .server("PA", 5000, 1500, data).client("A", 1500, 5500)
                    .client("FA", 1500, 5500).server("A", 5500, 1501).server("FA", 5500, 1501)
                    .client("A", 1501, 5501).client("S", 70000).server("SA", 90000, 70001))
    yield "closed by the server", (talk().handshake().server("FA", 5000, 1000)
                                   .client("FA", 1000, 5001).server("A", 5001, 1001))
    yield "sent again", (talk().client("S", 999).client("S", 999).server("SA", 4999, 1000)
                         .server("SA", 4999, 1000).client("A", 1000, 5000)
                         .client("PA", 1000, 5000, data).client("PA", 1000, 5000, data)
                         .server("A", 5000, 1500).server("SA", 4999, 1000))
    yield "refused", talk().client("S", 999).server("RA", 0, 1000).client("S", 3000)
    yield "refused wrongly", (talk().client("S", 999).server("RA", 0, 2000)
                              .server("SA", 4999, 1000))
    yield "reset", (talk().handshake().client("PA", 1000, 5000, data).server("A", 5000, 1500)
                    .server("R", 4000).server("R", 5300).client("A", 1500, 5000)
                    .server("R", 5000).client("A", 1500, 5000))
    yield "out of the window", (talk().handshake().client("A", 1000 + 100_000, 5000)
                                .server("A", 5000 + 100_000, 1000).server("A", 5000, 1001)
                                .client("A", 1000, 5000 - 80_000).client("PA", 1000, 5000, data))
    yield "both begin", (talk().client("S", 999).server("S", 4999).client("SA", 999, 5000)
                         .server("SA", 4999, 1000).client("A", 1000, 5000)
                         .server("A", 5000, 1000))
    yield "from the middle", (talk().client("PA", 5555, 777, data).server("A", 777, 6055)
                              .client("FA", 6055, 777).server("FA", 777, 6056)
                              .client("A", 6056, 778))
    yield "from the middle, wildly", (talk().client("A", 5555, 777).server("A", 900_000, 5555)
                                      .client("A", 700_000_000, 800_000_000))
    yield "never begun", talk().client("SA", 1, 2).client("FA", 1, 2).client("R", 1).client("RA", 1)
    yield "nonsense", (talk().client("S", 999).client("SF", 999).client("", 1000).client("FPU", 1)
                       .server("SR", 1).client("SAFR", 1))
    scale = [("WScale", 7)]
    yield "scaled", (talk().handshake(scale, scale).server("A", 5000, 1000, window=1000)
                     .client("PA", 1000 + 127_000, 5000, data)
                     .client("PA", 1000 + 129_000, 5000, data))
    yield "scaled by one", (talk().handshake(scale).server("A", 5000, 1000, window=1000)
                            .client("PA", 1000 + 127_000, 5000, data)
                            .client("PA", 1000, 5000, data))
    yield "a SYN that counts after all", (talk().handshake().client("S", 70_000)
                                          .server("SA", 90_000, 70_001)
                                          .client("A", 70_001, 90_001))
    yield "shut", (talk().handshake().client("PA", 1000, 5000, data).server("A", 5000, 1500,
                                                                            window=0)
                   .client("A", 1500, 5000, b"y").server("A", 5000, 1500, window=0)
                   .server("A", 5000, 1501))
    yield "going round", (talk().client("S", 0xffffff00).server("SA", 0xfffffff0, 0xffffff01)
                          .client("A", 0xffffff01, 0xfffffff1)
                          .client("PA", 0xffffff01, 0xfffffff1, data)
                          .server("A", 0xfffffff1, 0xffffff01 + 500)
                          .client("PA", 0xffffff01 + 500, 0xfffffff1, data))


def others():
    """UDP, ICMP, and errors."""
    def udp(source, destination, sport, dport):
        return IP(src=source, dst=destination) / UDP(sport=sport, dport=dport) / Raw(b"abc" * 9)

    def echo(source, destination, kind, identifier):
        return IP(src=source, dst=destination) / ICMP(type=kind, id=identifier, seq=1) / Raw(b"e")

    def error(source, destination, about, kind=3, code=1):
        return IP(src=source, dst=destination) / ICMP(type=kind, code=code) / Raw(bytes(about))
    question, answer = udp(CLIENT, SERVER, 5000, 53), udp(SERVER, CLIENT, 53, 5000)
    yield from (question, question, answer, question, answer)
    yield from (echo(SERVER, CLIENT, 0, 9), echo(CLIENT, SERVER, 8, 9), echo(SERVER, CLIENT, 0, 9),
                echo(SERVER, CLIENT, 0, 10), echo(CLIENT, SERVER, 8, 9),
                echo(CLIENT, SERVER, 13, 11), echo(SERVER, CLIENT, 14, 11))
    fresh = udp(CLIENT, SERVER, 5001, 53)
    yield error("10.3.0.9", CLIENT, fresh)
    yield fresh
    yield error("10.3.0.9", CLIENT, fresh)
    yield error("10.3.0.9", CLIENT, fresh, 11, 0)
    yield udp(SERVER, CLIENT, 53, 5001)
    yield error("10.3.0.9", SERVER, udp(SERVER, CLIENT, 53, 5001))
    yield error("10.3.0.9", SERVER, udp(SERVER, CLIENT, 54, 5001))
    ping = echo(CLIENT, SERVER, 8, 77)
    yield from (ping, error("10.3.0.9", CLIENT, ping), echo(SERVER, CLIENT, 0, 77))
    yield from (IP(src=CLIENT, dst=SERVER, proto=99) / Raw(b"z" * 30),
                IP(src=SERVER, dst=CLIENT, proto=99) / Raw(b"z" * 30),
                IP(src=CLIENT, dst=SERVER, proto=99) / Raw(b"z" * 30))


def ipv6():
    """The same over IPv6."""
    here, there, router = "fd01::1", "fd02::1", "fd03::9"

    def udp(source, destination, sport, dport):
        return IPv6(src=source, dst=destination) / UDP(sport=sport, dport=dport) / Raw(b"abc" * 9)

    def error(destination, about, kind=ICMPv6DestUnreach):
        return IPv6(src=router, dst=destination) / kind() / Raw(bytes(about))
    question, answer = udp(here, there, 5000, 53), udp(there, here, 53, 5000)
    yield from (question, answer, question, error(here, question), error(there, answer),
                error(here, question, ICMPv6TimeExceeded),
                error(here, question, ICMPv6PacketTooBig),
                error(here, udp(here, there, 5000, 54)))
    ask = IPv6(src=here, dst=there) / ICMPv6EchoRequest(id=5)
    reply = IPv6(src=there, dst=here) / ICMPv6EchoReply(id=5)
    yield from (reply, ask, reply, ask)
    syn = IPv6(src=here, dst=there) / TCP(sport=7, dport=80, flags="S", seq=10)
    yield from (syn, IPv6(src=there, dst=here) / TCP(sport=80, dport=7, flags="SA", seq=90, ack=11),
                IPv6(src=here, dst=there) / TCP(sport=7, dport=80, flags="A", seq=11, ack=91),
                IPv6(src=here, dst=there) / TCP(sport=7, dport=80, flags="A", seq=99_999, ack=91))


def differences(frames, mine, theirs):
    """Lines about packets whose states differ, but for what follows a difference that is meant.

    A SYN after a reset begins a new connection here at once. To netfilter it may be one of the old
    connection, for ten seconds. A reset right behind the last byte of data is the end here; to
    netfilter not always. What the two make of later packets cannot be compared.
    """
    reset, parted, lines = set(), set(), []
    for number, (frame, here, there) in enumerate(zip(frames, mine, theirs)):
        flags = str(frame[TCP].flags) if TCP in frame else ""
        talk = frozenset((frame[TCP].sport, frame[TCP].dport)) if flags else None
        if "R" in flags:
            reset.add(talk)
        if talk in reset and (flags == "S" and (here, there) == (NEW, EST) or
                              "R" in flags and there == INVALID):
            parted.add(talk)
        if here != there and talk not in parted:
            lines.append(f"{number}: {frame.summary()}: {here} here, {there} there")
    return lines


def compare(netfilter, packets, what):
    frames = numbered(packets)
    lines = differences(frames, ours(frames), netfilter.states(frames))
    assert not lines, f"{what}:\n" + "\n".join(lines)


def test_conversations_are_in_the_states_that_netfilter_sees(netfilter):
    faults = []
    for name, talk in conversations():
        try:
            compare(netfilter, talk.packets, name)
        except AssertionError as fault:
            faults.append(str(fault))
    assert not faults, "\n".join(faults)


def test_other_protocols_and_errors_are_in_the_states_that_netfilter_sees(netfilter):
    compare(netfilter, list(others()), "others")


def test_ipv6_is_in_the_states_that_netfilter_sees(netfilter):
    compare(netfilter, list(ipv6()), "IPv6")


def wander(random_, port):
    """Two TCPs that lose, repeat and make up segments."""
    talk = Talk(port)
    # [next to send, acknowledged] of each side.
    client, server = 1000, 5000
    talk.client("S", client - 1)
    talk.server("SA", server - 1, client)
    talk.client("A", client, server)
    for _ in range(random_.randrange(4, 20)):
        mine = random_.random() < 0.5
        say = talk.client if mine else talk.server
        here, there = (client, server) if mine else (server, client)
        sequence = here + random_.choice([0, 0, 0, 0, -300, 5000, 9000, 40_000, -70_000])
        acknowledged = there + random_.choice([0, 0, 0, 0, -200, 1, 300, 20_000])
        flags = random_.choice(["A", "A", "A", "PA", "PA", "FA", "R", "S", "SA"])
        size = 0 if flags in ("S", "SA", "R") else random_.choice([0, 0, 10, 700])
        say(flags, sequence, acknowledged, b"w" * size, random_.choice([0, 1000, 8192, 8192]))
        if sequence == here and flags in ("A", "PA", "FA") and acknowledged <= there:
            here += size + (1 if flags == "FA" else 0)
        if mine:
            client = here
        else:
            server = here
    return talk


@pytest.mark.parametrize("seed", range(4))
def test_random_conversations_are_in_the_states_that_netfilter_sees(netfilter, seed):
    random_ = random.Random(seed)
    packets = []
    for port in range(10_000, 10_060):
        packets += wander(random_, port).packets
    compare(netfilter, packets, f"seed {seed}")


def announcements():
    """FTP's control connection of a client whose address is translated: commands that become
    longer, sent again, acknowledged in part and out of order."""
    def say(back, seq, ack, data="", flags="PA", options=()):
        ends = {"src": SERVER, "dst": SEEN_AS} if back else {"src": CLIENT, "dst": SERVER}
        ports = {"sport": 21, "dport": 4444} if back else {"sport": 4444, "dport": 21}
        return IP(**ends) / TCP(**ports, seq=seq, ack=ack, flags=flags, window=8192,
                                options=list(options)) / Raw(data.encode())
    port, eprt = "PORT 10,1,0,1,200,10\r\n", "EPRT |1|10.1.0.1|51300|\r\n"
    grown = len(port) + 1
    yield from (say(False, 999, 0, flags="S"), say(True, 4999, 1000, flags="SA"),
                say(False, 1000, 5000, flags="A"), say(True, 5000, 1000, "220 hello\r\n"),
                say(False, 1000, 5011, "USER x\r\n"), say(True, 5011, 1008, "230 in\r\n"),
                say(False, 1008, 5019, port), say(False, 1008, 5019, port),
                say(True, 5019, 1008 + grown, "200 fine\r\n"))
    at, there = 1008 + len(port), 1008 + grown
    yield from (say(False, at, 5029, "LIST\r\n"), say(True, 5029, there + 6, "150 now\r\n"),
                say(True, 5029, 1008, flags="A", options=[("SAck", (there, there + 6))]),
                say(False, at + 6, 5038, flags="A"), say(True, 5038, there + 6, "226 done\r\n"),
                say(False, at + 6, 5048, eprt),
                say(True, 5048, there + 6 + len(eprt) + 1, "200 ok\r\n"),
                say(False, at + 6 + len(eprt), 5056, "QUIT\r\n"),
                say(False, at + 12 + len(eprt), 5056, flags="FA"),
                say(True, 5056, there + 14 + len(eprt), flags="FA"),
                say(False, at + 13 + len(eprt), 5057, flags="A"))


def fields(frame):
    segment = frame[TCP]
    size = frame[IP].len - frame[IP].ihl * 4 - segment.dataofs * 4
    return (frame[IP].src, frame[IP].dst, segment.sport, segment.dport, segment.seq, segment.ack,
            str(segment.flags), segment.options, bytes(segment.payload)[:size])


@pytest.mark.parametrize("netfilter", (Translator,), indirect=True)
def test_ftp_is_rewritten_as_netfilter_does(netfilter):
    frames = numbered(announcements())
    mine = [Ether(bytes.fromhex(line)) for line in tracked(frames, "--ftp-source", SEEN_AS)]
    theirs = netfilter.frames(frames)
    for number, (frame, here, there) in enumerate(zip(frames, mine, theirs, strict=True)):
        assert fields(here) == fields(there), f"{number}: {frame.summary()}"
    said = b"".join(fields(frame)[-1] for frame in mine)
    assert said.count(b"PORT 10,3,0,77,200,10") == 2
    assert b"EPRT |1|10.3.0.77|51300|" in said
