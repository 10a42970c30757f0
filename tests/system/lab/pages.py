# SPDX-License-Identifier: BSD-3-Clause
"""Pages of documentation whose commands and answers are as they are: in blocks of ```console, each
command behind its prompt ("# ", or "NAME# " for another shell than the first), and below it what it
says. Nothing here knows a shell.

Where a block has a line "<!-- sample -->" before it, what it says may be another the next time:
there each command that said something must say something again.
"""

import dataclasses
import re

_PROMPT = re.compile(r"(\w*)# (.*)")
_SAMPLE = "<!-- sample -->"


@dataclasses.dataclass
class Step:
    """A command of a page: on which line it is, and whose shell it is for ("": the first)."""
    line: int
    place: str
    command: str
    says: list
    is_sample: bool = False


def steps(text):
    """Each command of the page, in order."""
    inside = False
    found = []
    is_sample = False
    for number, line in enumerate(text.splitlines(), 1):
        prompt = _PROMPT.fullmatch(line) if inside else None
        if line.startswith("```"):
            inside = line == "```console"
            is_sample = is_sample and inside
        elif inside and found and found[-1].command.endswith("\\") and not found[-1].says:
            found[-1].command += "\n" + line
        elif prompt:
            found.append(Step(number, prompt[1], prompt[2], [], is_sample))
        elif inside:
            found[-1].says.append(line)
        elif line == _SAMPLE:
            is_sample = True
    return found


def plain(lines, volatile):
    """Lines without what differs from run to run: (pattern, what stands for it) of each such."""
    out = []
    for line in lines:
        for pattern, instead in volatile:
            line = re.sub(pattern, instead, line)
        out.append(line.rstrip())
    return out


def differences(text, say):
    """What a page says that is not so: a sentence for each command. say(step) gives its lines."""
    wrong = []
    for step in steps(text):
        said = say(step)
        if step.is_sample:
            same = bool(said) >= bool(step.says)
        else:
            same = plain(said, say.volatile) == plain(step.says, say.volatile)
        if not same:
            wrong.append(f"line {step.line}: {step.command}\nsays\n  " + "\n  ".join(said)
                         + "\nand the page\n  " + "\n  ".join(step.says))
    return wrong


def rewritten(text, say):
    """The lines of the page with what its commands say now, each as soon as it is known."""
    by_line = {step.line: step for step in steps(text)}
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        if number in by_line:
            step = by_line[number]
            yield f"{step.place}# {step.command}"
            yield from say(step)
        elif not inside or line.startswith("```"):
            yield line
