# SPDX-License-Identifier: BSD-3-Clause
"""The machine of this folder's tests, booted once; its logs stay in build/logs/kvm."""

import pathlib

import pytest

import lab as parts

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(scope="package")
def machine():
    try:
        made = parts.KvmMachine(ROOT / "build/logs/kvm")
    except parts.Unavailable as reason:
        pytest.skip(str(reason))
    with made:
        print(f"the machine is up after {made.boot_seconds:.1f} s")
        yield made
