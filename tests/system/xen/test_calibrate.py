# SPDX-License-Identifier: BSD-3-Clause
"""strait-calibrate in the dom0 of a real Xen, with two CPUs: all that it measures is there and adds
up. Times are the emulation's, and none is asserted. Logs stay in build/logs/xen-calibrate."""

import pathlib
import statistics
import sys

import pytest

import lab as parts

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "bench"))

# pylint: disable=wrong-import-position
from harness import calibration  # noqa: E402

pytestmark = pytest.mark.soak


def test_costs_of_grant_copies_and_event_channels(lab):
    xen = lab.xen(ROOT / "build/logs/xen-calibrate", guests=1, dom0_cpus=2, boot_timeout=400)
    status, said = xen.run(f"{parts.binaries()}/strait-calibrate --rounds 3 > /lab/xen.json", 400)
    assert status == 0, said
    assert said.startswith("strait-calibrate: not calibrated: KVM: /dev/kvm cannot be opened: ")
    # Of an xl that waits for ever nothing is waited for.
    status, said = xen.run(
        "mkdir /tmp/hangs; printf '#!/bin/sh\\nexec sleep 1000\\n' > /tmp/hangs/xl; "
        f"chmod 755 /tmp/hangs/xl; PATH=/tmp/hangs:$PATH {parts.binaries()}/strait-calibrate "
        "--rounds 1 > /lab/hangs.json", 300)
    assert status == 0, said
    hung, = calibration.read(str(xen.logs / "hangs.json"))
    assert hung["xen"]["facts"]["host_flags"] is None
    one, = calibration.read(str(xen.logs / "xen.json"))  # and that all is there, and positive
    facts = one["xen"]["facts"]
    assert (facts["major"], facts["minor"], facts["kind"]) == ("4", "17", "PV")
    assert calibration.not_hardware(one, "xen") == "the machine that Xen runs on is virtual itself"

    found = {key: values["median"] for key, values in calibration.spreads(one, "xen").items()}
    print({key: round(value, 2) for key, value in found.items()})
    assert all(value > 0 for value in found.values()), found
    for end in ("polling", "sleeping"):
        assert found[f"event_{end}"] > found[f"notify_{end}"]
    # What a hypercall, a segment and a byte come to is what the copies took.
    assert calibration.misfit(one) < 0.4
    took = {(copy["both"], copy["segments"], copy["length"]): statistics.median(copy["cycles"])
            for copy in one["xen"]["copies"]}
    assert len(took) == 2 * 7 * 4
    for both in (False, True):
        assert took[both, 1, 64] > found["call"]
        assert took[both, 64, 64] > took[both, 8, 64] > took[both, 1, 64]
        assert took[both, 64, 4096] > took[both, 64, 64]
