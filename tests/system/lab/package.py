# SPDX-License-Identifier: BSD-3-Clause
"""The Debian package of what was built."""

import pathlib
import subprocess

from .errors import LabError, Unavailable
from .switch import binaries

_ROOT = pathlib.Path(__file__).resolve().parents[3]


def debian_package(folder):
    """Makes the .deb in this folder, and returns its path."""
    build = next((tree for tree in (binaries().parent, _ROOT / "build/release")
                  if (tree / "CPackConfig.cmake").exists()), None)
    if not build:
        raise Unavailable("there is no build tree to make a package of")
    done = subprocess.run(
        ["cpack", "--config", build / "CPackConfig.cmake", "-B", folder,
         "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=none"],
        capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise LabError(f"cpack: {done.stdout}{done.stderr}")
    return next(pathlib.Path(folder).glob("*.deb"))
