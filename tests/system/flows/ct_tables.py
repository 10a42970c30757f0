# SPDX-License-Identifier: BSD-3-Clause
"""Random tables that track connections (conversations.py): what is tracked and where to, what its
state makes of it, what is committed, marked and translated."""

import random

from . import conversations
from .rules import Action, Rule

_TRACK, _JUDGE, _AGAIN, _SEND = 0, 1, 2, 3
_STATES = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")
# What packets begin, and which answer, all trackers see alike.
_WITHOUT_BOOK = ("udp", "udp6", "icmp")
_ZONES = ("zone=1", "zone=2", "zone=65535", "zone=NXM_NX_REG5[0..15]", "zone=reg6[8..23]", None)
_REGISTERS = (1, 2, 0x301)


class CtTableMaker:
    """nat: whether addresses are translated. same_book: no more than what trackers of whatever book
    find alike. Of TCP, OVS's own has BSD's, Strait has Linux's (docs/conntrack.md): what is not
    begun by a SYN is not committed then, what ends it and what answers neither, and TCP is tracked
    in one zone that sees all of it."""

    def __init__(self, seed, nat=True, same_book=False):
        self._random = random.Random(seed)
        self._nat = nat
        self._same_book = same_book

    def make(self):
        r = self._random
        # Where all is tracked in one zone most is to be seen.
        self._zone = r.choice(_ZONES)
        self._in_register = r.choice(_REGISTERS) if self._same_book else None
        rules = [*self._track(), *self._judge(_JUDGE, 8)]
        if r.random() < 0.5:
            rules += self._judge(_AGAIN, 4)
        return [*rules, *self._send()]

    def _zones(self, context):
        if self._random.random() < 0.85 or self._same_book and context not in _WITHOUT_BOOK:
            return self._zone
        return self._random.choice(_ZONES)

    @staticmethod
    def _ct(*words):
        return Action("ct", tuple(word if isinstance(word, Action) else Action(word)
                                  for word in words if word))

    def _registers(self):
        value = self._in_register or self._random.choice(_REGISTERS)
        return [Action(f"set_field:{value}->reg5"), Action("load:0x155->NXM_NX_REG6[]")]

    def _track(self):
        """To the next table by way of the connection, or as it is."""
        r = self._random
        restore = "nat" if self._nat else None
        for i, context in enumerate(("ip", "ipv6", "tcp", "udp6", "icmp")):
            if i < 2 or r.random() < 0.4:
                yield Rule(_TRACK, 10 + i * 10, context, (), (
                    *self._registers(),
                    self._ct(f"table={_JUDGE}", self._zones(context), restore)))
        if r.random() < 0.3:
            yield Rule(_TRACK, 100, "tcp", (f"tcp_flags={r.choice(('+rst', '+syn+fin'))}",),
                       (Action(f"resubmit(,{_JUDGE})"), Action("output:5")))
        if r.random() < 0.3:
            context = r.choice(_WITHOUT_BOOK) if self._same_book else "ip"
            yield Rule(_TRACK, 110, context, ("in_port=2",), (
                *self._registers(), self._ct(self._zones(context), "commit"),
                self._ct(f"table={_JUDGE}", self._zones(context)), Action("output:4")))

    def _state(self):
        r = self._random
        words = r.sample(_STATES, r.choice((1, 1, 2)))
        return "ct_state=" + "".join(
            ("+" if word == "trk" or r.random() < 0.7 else "-") + word for word in words)

    def _matches(self):
        r = self._random
        made = [self._state()] if r.random() < 0.8 else []
        if r.random() < 0.3:
            made.append(r.choice(("ct_mark=1", "ct_mark=0/0x1", "ct_mark=0x10/0xf0",
                                  "ct_label=0x2/0x2", "ct_label=0x500000000000000000", "ct_zone=1",
                                  "ct_label=0/0xff", "ct_zone=65535")))
        if r.random() < 0.3:
            made.append(r.choice(("in_port=1", "in_port=2")))
        return made

    def _of_connection(self):
        """A kind of packet and a match on the connection's first one."""
        r = self._random
        six = r.random() < 0.3
        kind = r.choice(("tcp6", "udp6")) if six else r.choice(("tcp", "udp"))
        proto = {"tcp": 6, "udp": 17}[kind.removesuffix("6")]
        client = r.choice(conversations.CLIENTS6 if six else conversations.CLIENTS)
        server = r.choice(conversations.SERVERS6 if six else conversations.SERVERS)
        words = ("ct_ipv6_src", "ct_ipv6_dst") if six else ("ct_nw_src", "ct_nw_dst")
        match = r.choice((f"{words[0]}={client}", f"{words[1]}={server}",
                          f"ct_tp_dst={r.choice(conversations.DESTINATIONS)}",
                          f"ct_tp_src={1024 + r.randrange(5)}"))
        # There is one only where the state says that there is a connection.
        return kind, (r.choice(("ct_state=+est", "ct_state=+new+trk")), f"ct_nw_proto={proto}",
                      match)

    def _judge(self, table, count):
        r = self._random
        if self._same_book:
            yield from self._judge_by_book(table)
        priorities = iter(r.sample(range(10, 500), 2 * count))
        for _ in range(count):
            if r.random() < 0.2:
                context, matches = self._of_connection()
            else:
                context = r.choice(("ip", "ip", "ipv6", "tcp", "udp", "icmp", ""))
                matches = tuple(self._matches())
            # What is invalid cannot be tracked again.
            trackable = context if "+inv" not in str(matches) else ""
            yield Rule(table, next(priorities), context, matches,
                       self._verdict(table, trackable))
        if self._nat:
            for _ in range(count):
                context = r.choice(("ip", "ip", "ipv6", "tcp", "udp6"))
                word, matches = self._nat_word(context)
                yield Rule(table, next(priorities) + 300, context, ("ct_state=+new", *matches), (
                    self._commit(context, word), Action(f"resubmit(,{_SEND})")))
        # New ones are mostly let in, what belongs to them passes.
        for i, context in enumerate(("ip", "ipv6")):
            yield Rule(table, 8 + i, context, ("ct_state=+new+trk",),
                       (self._commit(context), Action(f"resubmit(,{_SEND})")))
        yield Rule(table, 5, "", ("ct_state=+est+trk",), (Action(f"resubmit(,{_SEND})"),))
        yield Rule(table, 4, "", ("ct_state=+rel+trk",), (Action(f"resubmit(,{_SEND})"),))
        yield Rule(table, 3, "", ("ct_state=+inv+trk",), (Action("output:5"),))
        yield Rule(table, 1, "", (), (Action("output:4"),))

    def _judge_by_book(self, table):
        """What ends a connection, or is not begun by a SYN, is never committed. What is invalid, of
        whose connection OVS tells the mark and Strait nothing, goes where that does not count."""
        r = self._random
        send = Action(f"resubmit(,{_SEND})")
        for context in ("tcp", "tcp6"):
            for i, flags in enumerate(("+fin", "+rst")):
                yield Rule(table, 4000 + i, context, ("ct_state=+est+trk", f"tcp_flags={flags}"),
                           (send,))
                yield Rule(table, 3900 + i, context, (f"tcp_flags={flags}",), (Action("output:5"),))
            yield Rule(table, 2000, context, ("ct_state=+new+trk", "tcp_flags=-syn"),
                       (Action("output:5"),))
        for i, context in enumerate(("", "ip", "tcp", "tcp6", "icmp")):
            yield Rule(table, 3000 + i, context, ("ct_state=+inv+trk",), r.choice((
                (), (Action("output:5"),), (Action("ct_clear"), send), (Action("in_port"),))))

    def _verdict(self, table, context):
        r = self._random
        way = r.randrange(6)
        if way == 0:
            return ()
        made = []
        if way in (1, 2) and context:
            made.append(self._commit(context))
        if way == 3:
            made.append(Action("ct_clear"))
        if way == 4 and table == _JUDGE and context:
            return (self._ct(f"table={_AGAIN}", self._zones(context)), Action("output:5"))
        if r.random() < 0.3:
            made.append(Action(r.choice(("move:NXM_NX_CT_MARK[0..7]->NXM_NX_REG0[0..7]",
                                         "move:NXM_NX_CT_LABEL[64..67]->NXM_NX_REG0[8..11]",
                                         "move:NXM_NX_CT_STATE[]->NXM_NX_REG1[]",
                                         "move:NXM_NX_CT_ZONE[]->NXM_NX_REG0[16..31]"))))
        return (*made, Action(f"resubmit(,{_SEND})"))

    def _commit(self, context, nat=None):
        r = self._random
        words = ["commit"]
        if r.random() < 0.1 and not (self._same_book and context not in _WITHOUT_BOOK):
            words.append("force")
        words.append(self._zones(context))
        words.append(nat)
        if r.random() < 0.5:
            words.append(Action("exec", tuple(map(Action, r.sample((
                "set_field:1->ct_mark", "set_field:0x10/0xf0->ct_mark",
                "load:0x5->NXM_NX_CT_LABEL[64..79]", "set_field:2/2->ct_label",
                "move:NXM_NX_REG5[0..7]->NXM_NX_CT_MARK[8..15]"), r.choice((1, 1, 2)))))))
        if r.random() < 0.15:
            words.append(f"table={_SEND}")
        return self._ct(*words)

    def _nat_word(self, context):
        """A translation, and what must match for it: one to the address that a packet has already
        ends OVS."""
        r = self._random
        six = context.endswith("6")
        client = (conversations.CLIENTS6 if six else conversations.CLIENTS)[2]
        servers = conversations.SERVERS6 if six else conversations.SERVERS
        port = conversations.TRANSLATED_DESTINATION
        with_port = f"[{servers[0]}]:{port}" if six else f"{servers[0]}:{port}"
        to_server = f"{'ipv6_dst' if six else 'nw_dst'}={servers[2]}"
        return r.choice((
            (f"nat(src={client})", ("in_port=1",)),
            (f"nat(dst={servers[0]})", (to_server,)),
            (f"nat(dst={with_port})", (to_server,))))

    def _send(self):
        """What was met is told by the ports, and by the address it gets."""
        marks = self._random.sample((
            ("ct_mark=1", "mod_dl_src:0a:00:00:00:00:01"),
            ("ct_mark=0x10/0xf0", "mod_dl_src:0a:00:00:00:00:02"),
            ("reg0=0x1/0xff", "mod_dl_src:0a:00:00:00:00:03"),
            ("reg1=0x22/0xff", "mod_dl_src:0a:00:00:00:00:04"),
            ("ct_label=2/2", "mod_dl_src:0a:00:00:00:00:05"),
            ("ct_state=+rpl", "mod_dl_src:0a:00:00:00:00:06"),
            ("ct_state=-trk", "mod_dl_src:0a:00:00:00:00:07"),
            ("ct_zone=1", "mod_dl_src:0a:00:00:00:00:08")), 4)
        for i, (match, action) in enumerate(marks):
            yield Rule(_SEND, 10 + i, "", (match,), (Action(action), Action("resubmit(,4)")))
        yield Rule(_SEND, 1, "", (), (Action("resubmit(,4)"),))
        yield Rule(4, 1, "", ("in_port=1",), (Action("output:2"),))
        yield Rule(4, 2, "", ("in_port=2",), (Action("output:1"),))
