# SPDX-License-Identifier: BSD-3-Clause
"""Where the seeds of a fuzz target go."""

import pathlib
import sys


def write(script, seeds):
    """(name, content) of each, into the folder that the command line names, else into the corpus
    of the target that the script X_seeds.py is of."""
    path = pathlib.Path(script)
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else path.with_name(
        path.stem.removesuffix("seeds") + "fuzz.corpus")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds:
        (folder / name).write_bytes(content)
