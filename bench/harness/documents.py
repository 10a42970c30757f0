# SPDX-License-Identifier: BSD-3-Clause
# Files of JSON that somebody names, and what may be believed of their values.

import json
import pathlib

from .machine import BenchError


def read_json(path):
    """What is in it; BenchError says why nothing is."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not JSON: {error}") from error


def is_number(value, least):
    """Of what is counted or timed: none is so large that arithmetic could not hold it, and none is
    infinite, or true."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and \
        least <= value < 1e18


def is_text(value):
    """One line that any terminal and file can take."""
    return isinstance(value, str) and value.isprintable() and bool(value)


def printable(text):
    """Of a word of the command line, which may be any bytes but none."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")
