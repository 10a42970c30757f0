# SPDX-License-Identifier: BSD-3-Clause
"""Flows as parts that can be taken away one by one, so that a table that shows a difference can be
made the smallest that does."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Action:
    """A word, or with `inner` one that has actions in parentheses: head(inner,...)."""
    head: str
    inner: tuple = None

    def __str__(self):
        return self.head if self.inner is None else f"{self.head}({join(self.inner)})"


def join(actions):
    return ",".join(map(str, actions))


@dataclasses.dataclass(frozen=True)
class Rule:
    """A flow; `context` is what its match says of the packet's kind, before `matches`."""
    table: int
    priority: int
    context: str
    matches: tuple
    actions: tuple

    def __str__(self):
        words = [f"table={self.table}", f"priority={self.priority}", self.context, *self.matches]
        return f"{','.join(filter(None, words))} actions={join(self.actions) or 'drop'}"


@dataclasses.dataclass(frozen=True)
class Bucket:
    """`what` is said of it before its actions."""
    what: str
    actions: tuple

    def __str__(self):
        return f"bucket={self.what}{',' if self.what else ''}actions={join(self.actions) or 'drop'}"


@dataclasses.dataclass(frozen=True)
class Group:
    """Stands among the rules that name it."""
    number: int
    kind: str
    buckets: tuple

    def __str__(self):
        return ",".join([f"group_id={self.number}", f"type={self.kind}", *map(str, self.buckets)])


def lines(rules):
    return [str(rule) for rule in rules]


def _fewer_actions(actions):
    """Each list of actions that has one less, or one's inner ones in its place."""
    for i, action in enumerate(actions):
        yield (*actions[:i], *actions[i + 1:])
        if action.inner is not None:
            yield (*actions[:i], *action.inner, *actions[i + 1:])
            for inner in _fewer_actions(action.inner):
                if inner:
                    yield (*actions[:i], dataclasses.replace(action, inner=inner),
                           *actions[i + 1:])


def _says_of_tags(rule):
    """How often, but for mod_vlan_*, which ovs-ofctl understands by what is said before it."""
    return len(re.findall("(?<!mod_)vlan", str(rule).lower()))


def _simpler(rule):
    """Each rule, or group, that says one thing less."""
    for simpler in _says_less(rule):
        if "mod_vlan" not in str(simpler) or _says_of_tags(simpler) == _says_of_tags(rule):
            yield simpler


def _says_less(rule):
    if isinstance(rule, Group):
        yield from _simpler_groups(rule)
        return
    for i in range(len(rule.matches)):
        yield dataclasses.replace(rule, matches=rule.matches[:i] + rule.matches[i + 1:])
    if rule.context:
        yield dataclasses.replace(rule, context="")
    for actions in _fewer_actions(rule.actions):
        yield dataclasses.replace(rule, actions=actions)


def _simpler_groups(group):
    for i, bucket in enumerate(group.buckets):
        before, after = group.buckets[:i], group.buckets[i + 1:]
        yield dataclasses.replace(group, buckets=before + after)
        for actions in _fewer_actions(bucket.actions):
            fewer_said = dataclasses.replace(bucket, actions=actions)
            yield dataclasses.replace(group, buckets=(*before, fewer_said, *after))


def shrink(rules, differs):
    """The smallest that is found among tables made of less, for which differs(rules) holds."""
    while True:
        simple = _simpler_rules(fewer(list(rules), differs), differs)
        if simple == rules:
            return rules
        rules = simple


def _simpler_rules(rules, differs):
    """Takes words away from each rule while it still differs."""
    def found(i):
        for simpler in _simpler(rules[i]):
            candidate = [*rules[:i], simpler, *rules[i + 1:]]
            if differs(candidate):
                return candidate
        return None
    for i in range(len(rules)):
        while candidate := found(i):
            rules = candidate
    return rules


def fewer(things, differs):
    """Takes away halves, quarters and so on down to single ones."""
    size = max(1, len(things) // 2)
    while size:
        i = 0
        while i < len(things):
            candidate = things[:i] + things[i + size:]
            if candidate and differs(candidate):
                things = candidate
            else:
                i += size
        size //= 2
    return things
