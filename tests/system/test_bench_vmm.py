# SPDX-License-Identifier: BSD-3-Clause
"""bench/vmm/run as its user has it: what it measures is there, and none of it is judged."""

import json
import os
import pathlib
import subprocess

import pytest

import lab as parts

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "bench/vmm/run"


def bench(*words, timeout=60):
    return subprocess.run([PROGRAM, *map(str, words)], text=True, timeout=timeout,
                          capture_output=True, check=False,
                          env={**os.environ, "STRAIT_BIN": str(parts.binaries())})


def test_a_part_that_is_none():
    done = bench("--only", "boot,nosuch")
    assert done.returncode == 2 and "there is no part nosuch; there are boot, " in done.stderr


@pytest.mark.skipif(os.access("/dev/kvm", os.R_OK | os.W_OK), reason="there is a /dev/kvm")
def test_what_cannot_be_measured(tmp_path):
    """Is said, and the rest would go on."""
    told = tmp_path / "told.json"
    done = bench("--only", "start,exits", "--json", told)
    assert done.returncode == 1 and done.stdout == ""
    failed = [f"{part}: there is no /dev/kvm here" for part in ("start", "exits")]
    assert done.stderr.splitlines() == [f"bench/vmm/run: {line}" for line in failed]
    assert json.loads(told.read_text(encoding="utf-8")) == {"failed": failed}


@pytest.mark.soak
@pytest.mark.busy
def test_boots(tmp_path):
    """One of each, in the emulated machine."""
    told = tmp_path / "told.json"
    done = bench("--only", "boot", "--rounds", 1, "--json", told, timeout=900)
    assert done.returncode == 0, done.stderr
    measured = json.loads(told.read_text(encoding="utf-8"))
    assert measured["failed"] == []
    keys = {"vmm", "init", "network", "all", "memory"}
    assert set(measured["boot"]["trials"]) == {"strait", "microvm"}
    for trials in measured["boot"]["trials"].values():
        (trial,) = trials
        assert set(trial) == keys and all(value > 0 for value in trial.values()), trial
        assert trial["all"] == trial["vmm"] + trial["init"]
    ours, theirs = (measured["boot"]["trials"][name][0] for name in ("strait", "microvm"))
    assert set(measured["boot"]["figures"]) == keys
    for key, found in measured["boot"]["figures"].items():
        assert found["ratio"]["median"] == ours[key] / theirs[key]
    for title in ("boot: exec to the first KVM_RUN (ms)", "boot: exec to the guest's init (ms)",
                  "memory beside a Linux guest's 128 MiB (MiB)"):
        assert title in done.stdout
