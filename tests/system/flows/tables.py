# SPDX-License-Identifier: BSD-3-Clause
"""Random tables of flows. Most matches are made of what a frame has, so that frames meet them.

What OVS leaves open, or does differently from what its manual says, is not made: rules of one
priority that overlap, a third VLAN tag, tables that come round again. Nor is what OVS has no word
for: packet_length; of inner tags see test_inner_tags.py.
"""

import collections
import dataclasses
import random
import re

from . import values
from .fields import CONTEXTS, FIELDS, ipv6, lineage, match_text, of_context, transport_name
from .rules import Action, Bucket, Group, Rule

# What tables can be made of, beyond matches, drop and output to one port.
LAYERS = ("outputs", "rewrite", "ttl", "vlan", "registers", "move", "tables", "resubmit_port",
          "goto", "clone", "action_set", "stack", "length", "conjunction", "groups", "tunnel")

_MOST_OUTPUTS = 40
_GROUPS = (1, 2, 0xffffff00)
_TABLES = (1, 2, 7, 30, 253)  # and 0; OVS keeps 254 for itself


@dataclasses.dataclass
class _State:
    """What is known of the packet where an action is made."""
    table: int
    context: str
    tagged: bool = None  # or not known
    depth: int = 0


class TableMaker:
    """Tables of the layers named, that these frames meet."""

    def __init__(self, seed, frames, layers=LAYERS, most_rules=8):
        unknown = set(layers) - set(LAYERS)
        if unknown:
            raise ValueError(f"no such layers: {sorted(unknown)}")
        self._random = random.Random(seed)
        self._frames = frames
        self._layers = frozenset(layers)
        self._most_rules = most_rules
        deep = {"tables", "goto", "resubmit_port"} & self._layers
        self._tables = [0]
        if deep:
            self._tables += sorted(self._random.sample(_TABLES, self._random.randint(1, 3)))
        self._conjunctions = 0

    def make(self):
        """The rules of a table, or several."""
        rules = {}
        for table in self._tables:
            for rule in self._table(table):
                rules[(rule.table, rule.priority, rule.context, rule.matches)] = rule
        groups = map(self._group, _GROUPS) if "groups" in self._layers else ()
        return self._bounded([*groups, *rules.values()])

    def _table(self, table):
        r = self._random
        count = r.randint(2, self._most_rules)
        # No two alike. Mostly those that say more come first: others would hide them.
        free = r.sample(range(1, 1000), count + 3)
        for _ in range(count):
            rule = self._rule(table, free.pop())
            said = len(rule.matches) + len(rule.context) // 4
            yield dataclasses.replace(rule, priority=rule.priority + 1000 * (
                said if r.random() < 0.8 else r.randrange(6)))
        if "conjunction" in self._layers and r.random() < 0.5:
            yield from self._conjunction(table, 9000 + free.pop() * r.choice((-1, 1)),
                                         10000 + free.pop())
        if r.random() < 0.9:
            state = _State(table, "any")
            onward = self._onward(state) if r.random() < 0.8 else None
            yield Rule(table, 0, "", (), (*(onward or ()), *self._actions(state)))

    def _onward(self, state):
        """To a further table; none where it cannot be."""
        ways = {"tables": self._resubmit, "resubmit_port": self._resubmit_port}
        possible = [ways[layer] for layer in sorted(ways.keys() & self._layers)]
        return self._random.choice(possible)(state) if possible else None

    def _rule(self, table, priority, context=None):
        r = self._random
        frame = r.choice(self._frames)
        kind = context or r.choice(lineage(frame.kind))
        tagged, matches = self._matches(kind, frame)
        return Rule(table, priority, r.choice(CONTEXTS[kind][0]), tuple(matches),
                    self._actions(_State(table, kind, tagged)))

    # ---- matches ----

    def _matches(self, context, frame):
        r = self._random
        names = [name for name in of_context(context) if self._may_match(name, context)]
        # Those that only some kinds have are named as often as those that all have.
        common = [name for name in names if "any" in FIELDS[name].contexts] + ["vlan"]
        special = [name for name in names if name not in common]
        if set(lineage(context)) & {"ip", "ipv6"}:
            special.append("ip_frag")
        chosen, tagged, texts = set(), None, []
        for _ in range(r.choice((0, 1, 1, 2, 2, 3)) or (context == "any")):
            name = r.choice(special if special and r.random() < 0.7 else common)
            if "resubmit_port" in self._layers and r.random() < 0.1:
                name = "in_port"
            if name in chosen or self._overlaps(name, chosen):
                continue
            chosen.add(name)
            if name == "vlan":
                tagged, text = self._vlan_match(frame.fields["vlan_tci"])
            elif name == "ip_frag":
                # Later fragments have no ports, and OVS refuses to speak of both.
                later = ["later"] if context in ("ip", "ipv6") else []
                text = "ip_frag=" + r.choice(["no", "yes", "first", "not_later", *later])
            else:
                text = self._field_match(name, context, frame)
            texts.append(text)
        return tagged, texts

    def _may_match(self, name, context):
        layer = FIELDS[name].layer
        if layer and layer not in self._layers or not FIELDS[name].match:
            return False
        if name == "eth_type":
            return context == "any"
        return not (name.startswith("icmpv6_") and context in ("nd_sol", "nd_adv"))

    @staticmethod
    def _overlaps(name, chosen):
        """Whether a match has it already, under another name."""
        for same in ({"nw_tos", "ip_dscp"}, {"nw_tos", "nw_ecn"}, {"reg0", "xreg0", "xxreg0"},
                     {"reg1", "xreg0", "xxreg0"}, {"reg2", "xxreg0"}, {"reg15", "xreg7"}):
            if name in same and same & chosen:
                return name != "nw_ecn" or "nw_tos" in chosen
        return False

    def _field_match(self, name, context, frame):
        r = self._random
        field = FIELDS[name]
        if name == "ip_dscp" and "nw_tos" in frame.fields:
            value = frame.fields["nw_tos"] >> 2
        elif name == "nw_ecn" and "nw_tos" in frame.fields:
            value = frame.fields["nw_tos"] & 3
        elif name == "nw_tos" and "nw_tos" in frame.fields:
            value = frame.fields["nw_tos"] & 0xfc
        elif name in frame.fields and r.random() < 0.8:
            value = frame.fields[name]
        elif field.layer and r.random() < 0.3:
            value = 0
        else:
            value = r.choice(field.pool)
        if name == "tcp_flags" and r.random() < 0.5:
            return "tcp_flags=" + "".join(
                ("+" if value & bit else "-") + flag
                for flag, bit in (("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16))
                if r.random() < 0.5 or flag == "ack")
        return match_text(name, context, value, self._mask(field), r.choice)

    def _mask(self, field):
        while True:
            mask = self._any_mask(field)
            # OVS takes a mask of IPv6 that begins with a digit for the length of a prefix.
            if field.write is not ipv6 or re.match("[a-f:]", ipv6(mask)):
                return mask

    def _any_mask(self, field):
        r = self._random
        whole = (1 << field.width) - 1
        if not field.masks or r.random() < 0.4:
            return whole
        way = r.randrange(4)
        if way == 0:
            return whole ^ (whole >> r.randint(1, field.width))
        if way == 1:
            return 1 << r.randrange(field.width)
        if way == 2:
            return whole >> r.randint(0, field.width - 1)
        return (r.getrandbits(field.width) & r.getrandbits(field.width)) or whole

    def _vlan_match(self, tci):
        r = self._random
        vlan, priority = tci & 0xfff, tci >> 13
        if not tci:
            return False, r.choice(("vlan_tci=0", "dl_vlan=0xffff", "vlan_tci=0/0x1000",
                                    "vlan_vid=0/0x1000"))
        # Of a part of the priority OpenFlow 1.3 does not speak.
        mask = r.getrandbits(12) | r.choice((0x1000, 0xf000))
        return True, r.choice((
            f"dl_vlan={vlan}", f"dl_vlan={vlan},dl_vlan_pcp={priority}", f"dl_vlan_pcp={priority}",
            "vlan_tci=0x1000/0x1000", f"vlan_tci={tci & mask:#x}/{mask:#x}",
            f"vlan_tci={tci:#x}", f"vlan_vid={0x1000 | vlan:#x}/0x1{mask & 0xfff:03x}",
            f"dl_vlan={vlan:#x},vlan_pcp={priority}"))

    def _conjunction(self, table, priority, met_priority):
        """Two or three dimensions, each of several rules, and the rule that is met by all."""
        r = self._random
        frame = r.choice(self._frames)
        context = r.choice(lineage(frame.kind))
        names = [name for name in of_context(context)
                 if self._may_match(name, context) and name in frame.fields]
        dimensions = r.choice((2, 2, 3))
        names = r.sample(names, min(dimensions, len(names)))
        self._conjunctions += 1
        identity = self._conjunctions
        same_kind = [other for other in self._frames if other.kind == frame.kind]
        for dimension, name in enumerate(names):
            for other in [frame, *r.sample(same_kind, min(r.randint(0, 3), len(same_kind)))]:
                yield Rule(table, priority, CONTEXTS[context][0][0],
                           (self._field_match(name, context, other),),
                           (Action(f"conjunction({identity},{dimension + 1}/{len(names)})"),))
        kind = r.choice(lineage(context))
        yield Rule(table, met_priority, CONTEXTS[kind][0][0], (f"conj_id={identity}",),
                   self._actions(_State(table, kind)))

    def _group(self, number):
        """Which bucket a group takes is no chance: one at most has a weight, or a port that is
        there first."""
        r = self._random
        kinds = ["all", "all", "indirect", "ff"]
        if "action_set" not in self._layers:
            # Before one that selects, an action set may end OVS.
            kinds.append("select")
        kind = r.choice(kinds)
        count = 1 if kind == "indirect" else r.randint(1, 3)
        live = r.randrange(count)
        said = {"select": [f"weight:{int(i == live)}" for i in range(count)],
                "ff": [f"watch_port:{77 if i < live else r.choice(values.PORTS)}"
                       for i in range(count)]}.get(kind, [""] * count)
        state = _State(table=254, context="any", depth=9)
        return Group(number, kind, tuple(
            Bucket(what, tuple(self._written(dataclasses.replace(state)))) for what in said))

    # ---- actions ----

    def _actions(self, state):
        r = self._random
        if r.random() < 0.05:
            return ()
        made = []
        for _ in range(r.choice((0, 1, 1, 2, 3, 4))):
            action = self._action(state)
            if action:
                made += action
        if r.random() < 0.4:
            made += self._onward(state) or ()
        if not made or r.random() < 0.7:
            made.append(self._output())
        if state.depth == 0:
            made += self._instructions(state)
        return tuple(made)

    def _action(self, state):
        """One action, or some that go together; none where it cannot be."""
        ways = {"outputs": self._other_output, "rewrite": self._set, "ttl": self._ttl,
                "vlan": self._vlan, "registers": self._set_register, "move": self._move,
                "groups": self._group_action, "clone": self._clone, "stack": self._stack,
                "length": self._length, "tunnel": self._set_tunnel}
        possible = [way for layer, way in ways.items() if layer in self._layers]
        return self._random.choice(possible)(state) if possible else [self._output()]

    def _output(self):
        port = self._random.choice(values.PORTS)
        return Action(self._random.choice(("output:{}", "{}", "output({})")).format(port))

    def _other_output(self, state):
        del state
        r = self._random
        ways = ["in_port", "IN_PORT", "FLOOD", "all", "output:77"]
        if "registers" in self._layers:
            ways += ["output:NXM_NX_REG0[0..15]", "output:reg1[]", "output:NXM_NX_REG2[3..10]",
                     "output:in_port", "output:NXM_OF_IN_PORT[]"]
        return [Action(r.choice(ways)), self._output()]

    def _group_action(self, state):
        del state
        return [Action(f"group:{self._random.choice(_GROUPS)}")]

    def _ttl(self, state):
        if not set(lineage(state.context)) & {"ip", "ipv6"}:
            return None
        return [Action("dec_ttl")]

    @staticmethod
    def _settable(context, layer):
        return [name for name in of_context(context)
                if (FIELDS[name].sets or FIELDS[name].mod)
                and not (name.startswith("icmpv6_") and context in ("nd_sol", "nd_adv"))
                and FIELDS[name].layer == layer]

    def _set(self, state):
        return [Action(self._set_text(self._random.choice(self._settable(state.context, "")),
                                      state.context))]

    def _set_register(self, state):
        r = self._random
        if r.random() < 0.1:
            return [Action(f"load:{r.choice(values.PORTS)}->NXM_OF_IN_PORT[]")]
        return [Action(self._set_text(r.choice(self._settable(state.context, "registers")),
                                      state.context))]

    def _set_tunnel(self, state):
        name = self._random.choice(self._settable(state.context, "tunnel"))
        return [Action(self._set_text(name, state.context))]

    def _set_text(self, name, context):
        r = self._random
        field = FIELDS[name]
        value = r.choice(field.pool)
        ways = []
        if field.sets:
            word = r.choice(field.sets).format(transport_name(context))
            ways.append(lambda: f"set_field:{field.text(value)}->{word}")
            if field.masks:
                mask = self._mask(field)
                ways.append(lambda: f"set_field:{field.text(value & mask, mask)}->{word}")
        if field.nxm:
            width = field.width if field.whole else r.randint(1, min(field.width, 64))
            first = r.randrange(field.width - width + 1)
            bits = value >> first & (1 << width) - 1
            ways.append(lambda: f"load:{bits:#x}->{self._part(name, context, first, width)}")
        if field.mod:
            plain = field.write(value) if ":" in field.write(value) else str(value)
            if "." in field.write(value):
                plain = field.write(value)
            ways.append(lambda: f"{field.mod}:{plain}")
        return r.choice(ways)()

    def _part(self, name, context, first, width):
        """A field's bits as move and load write them."""
        field = FIELDS[name]
        transport = transport_name(context).upper()
        word = field.nxm.format(transport)
        if transport == "SCTP":
            word = word.replace("NXM_OF_SCTP", "OXM_OF_SCTP")
        if width == field.width:
            return f"{word}[]"
        if width == 1:
            return f"{word}[{first}]"
        return f"{word}[{first}..{first + width - 1}]"

    def _any_part(self, name, context, width):
        """So many bits of a field."""
        first = self._random.choice((0, self._random.randint(0, FIELDS[name].width - width)))
        return self._part(name, context, first, width)

    def _parts(self, context, to):
        """The names of fields that bits can be moved from, or to."""
        names = []
        for name in of_context(context):
            field = FIELDS[name]
            if not field.nxm or field.whole or field.layer and field.layer not in self._layers:
                continue
            if not to or field.sets or name == "in_port" and "registers" in self._layers:
                names.append(name)
        return names

    def _move(self, state):
        r = self._random
        source = r.choice(self._parts(state.context, False))
        target = r.choice(self._parts(state.context, True))
        most = min(FIELDS[source].width, FIELDS[target].width)
        width = r.choice((most, r.randint(1, most)))
        parts = [self._any_part(name, state.context, width) for name in (source, target)]
        return [Action(f"move:{parts[0]}->{parts[1]}")]

    def _stack(self, state):
        r = self._random
        pushed, popped = (
            self._any_part(name, state.context, r.randint(1, FIELDS[name].width))
            for name in (r.choice(self._parts(state.context, to)) for to in (False, True)))
        return r.choice(([Action(f"push:{pushed}")], [Action(f"pop:{popped}")],
                         [Action(f"push:{pushed}"), Action(f"pop:{popped}")]))

    def _vlan(self, state):
        r = self._random
        vlan, priority = r.choice(values.VLANS), r.randrange(8)
        # Not 0: of two tags OVS takes both away then, of one it keeps the type for the next.
        ways = [(f"load:{priority << 13 | 0x1000 | vlan:#x}->NXM_OF_VLAN_TCI[]", True)]
        if state.tagged is not None and state.depth < 9:
            # Else, and in an action set, which is done when that may have changed, ovs-ofctl makes
            # another tag of it, Strait one only where there is none.
            ways += [(f"mod_vlan_vid:{vlan}", True), (f"mod_vlan_pcp:{priority}", True)]
        ways.append((f"push_vlan:{r.choice(('0x8100', '0x88a8'))}", True))
        if state.tagged:
            ways += [("pop_vlan", None), ("strip_vlan", None),
                     (f"set_field:{0x1000 | vlan:#x}->vlan_vid", True),
                     (f"set_field:{priority}->vlan_pcp", True)]
        text, state.tagged = r.choice(ways)
        return [Action(text)]

    def _further(self, state):
        later = [table for table in self._tables if table > state.table]
        return self._random.choice(later) if later else None

    def _resubmit(self, state):
        table = self._further(state)
        return [Action(f"resubmit(,{table})")] if table else None

    def _resubmit_port(self, state):
        table = self._further(state)
        port = self._random.choice(values.PORTS)
        return [Action(f"resubmit({port},{table})")] if table else None

    def _clone(self, state):
        if state.depth > 1:
            return None
        inside = dataclasses.replace(state, depth=state.depth + 1)
        return [Action("clone", self._actions(inside) or (self._output(),))]

    def _length(self, state):
        # Elsewhere OVS forgets the answer when it comes back from a table, and an action set it
        # does once for each answer.
        if state.table or state.depth or "registers" not in self._layers or \
                "action_set" in self._layers:
            return None
        r = self._random
        length = r.choice((59, 60, 61, 64, 100, 118, 400, 1000, 1500))
        return [Action(f"check_pkt_larger({length})->NXM_NX_REG0[{r.randrange(32)}]")]

    def _instructions(self, state):
        """What stands behind the actions, in the one order that there is."""
        r = self._random
        made = []
        if "action_set" in self._layers:
            if r.random() < 0.15:
                made.append(Action("clear_actions"))
            written = tuple(self._written(state)) if r.random() < 0.3 else ()
            if written:
                made.append(Action("write_actions", written))
        if "goto" in self._layers:
            if "registers" in self._layers and r.random() < 0.2:
                value, mask = r.choice(values.REGISTERS), r.choice((0xffff, 0xff00ff00ff, 1))
                made.append(Action(f"write_metadata:{value & mask:#x}/{mask:#x}"))
            table = self._further(state)
            if table and r.random() < 0.4:
                made.append(Action(f"goto_table:{table}"))
        return made

    def _written(self, state):
        r = self._random
        for _ in range(r.choice((1, 1, 2, 3))):
            inside = dataclasses.replace(state, depth=9)
            way = r.choice(("output", *sorted(self._layers & {"rewrite", "ttl", "vlan"})))
            made = {"rewrite": self._set, "ttl": self._ttl, "vlan": self._vlan}.get(
                way, lambda _: [self._output()])(inside)
            yield from made or ()

    # ---- bounds ----

    def _bounded(self, rules):
        """Takes away until no frame goes out too often, or gets more tags than OVS can have."""
        while True:
            costs = _costs(rules)
            if costs[0].outputs > _MOST_OUTPUTS:
                self._take(rules, "resubmit", "FLOOD", "all", "goto_table", "group")
            elif costs[0].pushes > 1:
                self._take(rules, "push_vlan")
            else:
                return rules

    def _take(self, rules, *heads):
        """Takes a random action that begins with one of these words away."""
        i = self._random.choice([i for i, rule in enumerate(rules) if any(
            action.head.startswith(heads) for action in _flat(_actions_of(rule)))])
        if isinstance(rules[i], Group):
            buckets = list(rules[i].buckets)
            for j, bucket in enumerate(buckets):
                buckets[j] = dataclasses.replace(bucket, actions=_without(bucket.actions, heads))
                if buckets[j] != bucket:
                    break
            rules[i] = dataclasses.replace(rules[i], buckets=tuple(buckets))
        else:
            rules[i] = dataclasses.replace(rules[i], actions=_without(rules[i].actions, heads))


def _without(actions, heads):
    """The actions without the first that begins with one of these words."""
    for i, action in enumerate(actions):
        before, after = actions[:i], actions[i + 1:]
        if action.head.startswith(heads):
            # What comes after a push may set the tag.
            instead = Action("load:0x1001->NXM_OF_VLAN_TCI[]")
            return before + ((instead,) if "push_vlan" in heads else ()) + after
        inner = _without(action.inner or (), heads)
        if inner != (action.inner or ()):
            return before + ((dataclasses.replace(action, inner=inner),) if inner else ()) + after
    return actions


def _actions_of(rule):
    if isinstance(rule, Group):
        return [action for bucket in rule.buckets for action in bucket.actions]
    return rule.actions


def _flat(actions):
    for action in actions:
        yield action
        yield from _flat(action.inner or ())


@dataclasses.dataclass
class _Cost:
    outputs: int = 0
    pushes: int = 0


def _costs(rules):
    """What a pass through each table comes to, at most, and what a group does, by "group:1"."""
    costs = collections.defaultdict(_Cost)
    for rule in rules:
        if isinstance(rule, Group):
            costs[f"group:{rule.number}"] = _cost(_actions_of(rule), costs)
    flows = [rule for rule in rules if isinstance(rule, Rule)]
    for table in sorted({rule.table for rule in flows}, reverse=True):
        for rule in flows:
            if rule.table == table:
                cost = _cost(rule.actions, costs)
                costs[table].outputs = max(costs[table].outputs, cost.outputs)
                costs[table].pushes = max(costs[table].pushes, cost.pushes)
    return costs


def _cost(actions, costs):
    cost = _Cost()
    for action in _flat(actions):
        head = action.head
        if head.startswith(("resubmit(", "goto_table:", "group:")):
            entered = head if head.startswith("group:") else \
                int(head.rstrip(")").replace(":", ",").split(",")[-1])
            cost.outputs += costs[entered].outputs
            cost.pushes += costs[entered].pushes
        elif head.startswith("push_vlan"):
            cost.pushes += 1
        elif head in ("FLOOD", "all"):
            cost.outputs += len(values.PORTS)
        elif head.startswith(("output", "in_port", "IN_PORT")) or head.isdigit():
            cost.outputs += 1
    return cost
