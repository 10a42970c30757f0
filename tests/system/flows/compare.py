# SPDX-License-Identifier: BSD-3-Clause
"""Two switches with the same flows and the same frames: where they differ, and the smallest table
that shows it. A side has load(lines) and forward([(port, frame), ...]), like lab's DummyOvs, and
knows after load() of no frame that came before."""

import collections
import dataclasses
import re

from lab import FlowsRefused, OvsEnded

from . import rules as tables
from .frames import fragment


@dataclasses.dataclass
class Difference:
    """What left for the last of these frames, as (port, frame) pairs. Or a refusal, where there are
    no frames."""
    rules: list
    frames: list
    expected: object
    got: object

    def __str__(self):
        said = ["flows:", *(f"  {line}" for line in tables.lines(self.rules))]
        if self.frames:
            said += ["frames:", *(f"  {frame}" for frame in self.frames)]
        for title, outputs in (("expected", self.expected), ("got", self.got)):
            said.append(f"{title}:")
            said += [f"  {outputs}"] if isinstance(outputs, str) else \
                [f"  port {port}: {data.hex()}" for port, data in outputs] or ["  nothing"]
        return "\n".join(said)


_BEHIND_IP = re.compile(r"->icmp|(->|pop:)(ip_|nw_|ipv6_|NXM_OF_IP_|NXM_NX_IPV6_)|mod_nw_(src|dst)")
_ARP = re.compile(r"(->|pop:)(arp_|NXM_\w+_ARP_)")
_IPV4_ARP = bytes.fromhex("0806 0001 0800 0604")
_SCTP = re.compile(r"(->|pop:)(sctp_|OXM_OF_SCTP_)|mod_tp_")


def left_out(lines, frame):
    """Whether OVS may do to the frame what is wrong: when it sets an ICMP type, or an address that
    ports' checksums are made of, it writes into the middle of a later fragment's payload; and
    SCTP's checksum it makes of a fragment alone. Nor does it count what stands behind a packet in
    its frame for check_pkt_larger; and ARP of other kinds than for IPv4 it sets as if it were."""
    if frame.padded and any("check_pkt_larger" in line for line in lines):
        return True
    if frame.kind == "arp" and _IPV4_ARP not in frame.data and any(map(_ARP.search, lines)):
        return True
    found = fragment(frame.data)
    if found is None:
        return False
    protocol, later = found
    return later and any(map(_BEHIND_IP.search, lines)) or \
        protocol == b"\x84" and any(map(_SCTP.search, lines))


def by_port(outputs):
    """What left each port, in its order; between ports there is none."""
    sorted_out = collections.defaultdict(list)
    for port, data in outputs:
        sorted_out[port].append(data)
    return sorted_out


class Comparison:
    """Counts what it compares: a run that compares nothing proves nothing."""

    def __init__(self, oracle, subject):
        self.oracle = oracle
        self.subject = subject
        self.counted = collections.Counter()

    def taken(self, rules):
        """The rules that the oracle takes: a random one may make no sense."""
        while True:
            try:
                self.oracle.load(tables.lines(rules))
                return rules
            except FlowsRefused as refusal:
                if not refusal.line:
                    raise
                rules = [rule for rule in rules if str(rule) != refusal.line]
                self.counted["refused"] += 1

    def first_difference(self, rules, frames):
        """The first frame that is not treated alike, or None; FlowsRefused if the oracle does not
        take the rules."""
        lines = tables.lines(rules)
        frames = [frame for frame in frames if not left_out(lines, frame)]
        sent = [(frame.port, frame.data) for frame in frames]
        try:
            self.oracle.load(lines)
            expected = self.oracle.forward(sent)
        except OvsEnded:
            self.counted["oracle ended"] += 1
            return None
        try:
            self.subject.load(lines)
        except FlowsRefused as refusal:
            return Difference(rules, [], "taken", str(refusal))
        got = self.subject.forward(sent)
        self.counted["tables"] += 1
        for i, (frame, right, seen) in enumerate(zip(frames, expected, got, strict=True)):
            self.counted["frames"] += 1
            self.counted["forwarded"] += bool(right)
            self.counted["rewritten"] += any(data != frame.data for _, data in right)
            if by_port(right) != by_port(seen):
                return Difference(rules, frames[:i + 1], right, seen)
        return None

    def smallest(self, difference):
        """A difference of the same kind by as few frames and words as can be found."""
        kept = difference

        def differs(rules, frames):
            nonlocal kept
            try:
                found = self.first_difference(rules, frames)
            except FlowsRefused:
                return False
            if found is None or bool(found.frames) != bool(difference.frames):
                return False
            kept = found
            return True
        # The last one alone, where no state of those before counts.
        if len(kept.frames) > 1:
            differs(kept.rules, kept.frames[-1:])
        tables.shrink(kept.rules, lambda rules: differs(rules, kept.frames))
        if len(kept.frames) > 1:
            tables.fewer(kept.frames, lambda frames: differs(kept.rules, frames))
        return kept

    def report(self, difference):
        """A difference made small, with the oracle's own account of it."""
        small = self.smallest(difference)
        if not small.frames:
            return str(small)
        sent = [(frame.port, frame.data) for frame in small.frames]
        self.oracle.load(tables.lines(small.rules))
        self.oracle.forward(sent[:-1])
        return f"{small}\nOVS says:\n{self.oracle.trace(*sent[-1])}"
