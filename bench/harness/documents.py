# SPDX-License-Identifier: BSD-3-Clause
# Files of JSON that somebody names.

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
