# SPDX-License-Identifier: BSD-3-Clause
"""What strait-vmm refuses: status 1, one line on stderr, and nothing is left."""

import json
import os
import pathlib
import re
import struct

import pytest

import lab as parts

from .test_boot import MIB, elf


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A folder with files that are none, not whole or too large."""
    folder = tmp_path_factory.mktemp("bad")
    try:
        image = parts.BareGuest.image().read_bytes()
        linux = parts.BareGuest.image(linux=True).read_bytes()
    except parts.Unavailable as reason:
        pytest.skip(str(reason))
    for name, content in {
            "text": b"no kernel\n", "empty": b"", "short": image[:40], "cut": image[:5000],
            "cut-linux": linux[:5000], "random": bytes(i * i % 253 for i in range(9999)),
            "low": elf(b"\xf4").replace(struct.pack("<Q", MIB), struct.pack("<Q", 0x1000)),
            "torn.json": b'{"kernel": ', "list.json": b"[1]",
            "text.json": json.dumps({"kernel": "x", "cpus": "two"}).encode(),
            "unknown.json": json.dumps({"kernel": "x", "colour": 1}).encode(),
            "disk": bytes(MIB)}.items():
        (folder / name).write_bytes(content)
    with open(folder / "large", "wb") as large:
        large.truncate(100 * MIB)
    return folder


KERNEL = "--kernel {image} "
# Words with {bad}, the folder above, and {image}, the guest; what is said.
WRONG = [
    ("--config {bad}/torn.json", "{bad}/torn.json:1:12: this is not JSON"),
    ("--config {bad}/list.json", "{bad}/list.json"),
    ("--config {bad}/text.json", '"cpus" is "two"; it must be an integer from 1 to 32'),
    ("--config {bad}/unknown.json", "colour"),
    ("--config {bad}/absent", "the configuration {bad}/absent cannot be read"),
    (KERNEL + "--disk {bad}/disk --disk {bad}/disk", "two --disk have the file {bad}/disk"),
    (KERNEL + "--memory 1536M --hugepages 1G", "1536M; it must be whole huge pages of 1G"),
    (KERNEL + "--user no-such-user", "there is no user no-such-user"),
    (KERNEL + "--memory 15M", "15M"),
    (KERNEL + "--cpus 33", "33"),
]
GIGANTIC = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-1048576kB")
REFUSED = [
    ("--kernel {bad}/text", "{bad}/text: it is no kernel: neither a bzImage nor an ELF64 image"),
    ("--kernel {bad}/random", "{bad}/random: it is no kernel"),
    ("--kernel {bad}/empty", "{bad}/empty: it is"),
    ("--kernel {bad}/short", "{bad}/short: it is truncated"),
    ("--kernel {bad}/cut", "{bad}/cut: it is truncated"),
    ("--kernel {bad}/cut-linux", "{bad}/cut-linux: it is truncated"),
    ("--kernel {bad}/low", "a segment lies below 1 MiB"),
    ("--kernel {bad}/absent", "the kernel {bad}/absent cannot be opened"),
    ("--kernel {bad}", "{bad}: it is no regular file"),
    (KERNEL + "--initrd {bad}/large --memory 64M",
     "{bad}/large: 100 MiB beside the kernel do not fit into the guest's memory"),
    (KERNEL + "--initrd {bad}/empty", "{bad}/empty: it is empty"),
    (KERNEL + "--initrd {bad}/absent", "the initial RAM disk {bad}/absent cannot be opened"),
    (KERNEL + "--command-line " + "x" * 3000, "the command line has 3000 bytes"),
    (KERNEL + "--net socket={bad}/text", "{bad}/text exists and is not a socket"),
    (KERNEL + "--net socket={bad}/text,server=on", "{bad}/text exists and is not a socket"),
    (KERNEL + "--net socket={bad}/absent/x",
     "the folder {bad}/absent of --net socket cannot be shown in the jail: No such file"),
    (KERNEL + "--console socket:{bad}/absent/x", "the folder {bad}/absent of --console cannot"),
    (KERNEL + "--control {bad}/text/x", "{bad}/text of --control cannot be shown in the jail: Not"),
    (KERNEL + "--control {bad}/text", "{bad}/text exists and is not a socket"),
    (KERNEL + "--console socket:{bad}/text", "{bad}/text exists and is not a socket"),
    (KERNEL + "--console file:{bad}", "the console's file {bad} cannot be opened"),
    (KERNEL + "--console file:{bad}/absent/x",
     "the console's file {bad}/absent/x cannot be opened: No such file"),
    (KERNEL + "--disk {bad}/absent", "the disk {bad}/absent cannot be opened"),
    (KERNEL + "--disk {bad}/empty", "the disk {bad}/empty is empty"),
    (KERNEL + "--memory 1T --hugepages 2M", "not enough of them are free (sysctl vm.nr_hugepages)"),
    (KERNEL + "--memory 512G --hugepages 1G", "524288 MiB of guest memory in huge pages of 1 "
     "GiB cannot be had: " + (f"not enough of them are free ({GIGANTIC}/nr_hugepages)"
                              if GIGANTIC.exists() else "this machine has no huge pages of that")),
    (KERNEL + "--numa-node 77", "on NUMA node 77 cannot be had: there is no such node"),
    (KERNEL + "--vcpu-pin 0=1023",
     "vCPU 0 cannot be pinned to CPU 1023: Invalid argument; --vcpu-pin takes"),
    (KERNEL + "--cpus 2 --vcpu-pin 1=1023", "vCPU 1 cannot be pinned to CPU 1023"),
    (KERNEL + "--jail-folder {bad}/absent", "a root in {bad}/absent: No such file or directory"),
]


def each(of):
    return pytest.mark.parametrize(
        "words, said", of,
        ids=[re.sub(r"[{}]|--kernel {image} ", "", words)[:40] for words, _ in of])


class Refusal:
    """What strait-vmm does to be refused."""

    def __init__(self, bad, tmp_path):
        self.run = tmp_path / "run"
        self.run.mkdir()
        self.bad = bad
        self.log = tmp_path / "log"

    def said(self, words, wrapper=()):
        """The line that it says."""
        names = {"bad": self.bad, "image": parts.BareGuest.image()}
        argv = [*wrapper, parts.BareGuest.program(), "run",
                *(word.format(**names) for word in words.split(" "))]
        for option, value in (("--control", f"{self.run}/control"),
                              ("--console", f"socket:{self.run}/console")):
            if option not in argv:
                argv += [option, value]
        before = sorted(self.bad.iterdir())
        process = parts.Process(argv, self.log, env={**os.environ, "TMPDIR": str(self.run)})
        try:
            status = process.wait(60)
        finally:
            process.kill()
        assert status == 1, process.log()
        lines = process.log().splitlines()
        assert len(lines) == 1, lines
        assert list(self.run.iterdir()) == []
        assert sorted(self.bad.iterdir()) == before
        assert (self.bad / "text").read_bytes() == b"no kernel\n"
        return lines[0]


@pytest.fixture
def refusal(bad, tmp_path):
    return Refusal(bad, tmp_path)


@pytest.mark.without_kvm
@each(WRONG)
def test_says_what_is_wrong(refusal, words, said):
    """Before it looks for /dev/kvm."""
    assert said.format(bad=refusal.bad) in refusal.said(words)


@each(REFUSED)
def test_refused(refusal, words, said):
    assert said.format(bad=refusal.bad) in refusal.said(words)


@pytest.mark.without_kvm
@pytest.mark.parametrize("prepare, said", [
    ("true", "No such file or directory; load kvm-intel or kvm-amd, and see that virtualisation is "
     "on in the firmware"),
    ("mkdir /dev/kvm", "/dev/kvm cannot be opened: Is a directory"),
    # By one who is nothing but the file's owner.
    ("touch /dev/kvm && chmod 0 /dev/kvm && "
     'set -- setpriv --bounding-set=-dac_override,-dac_read_search "$@"',
     "/dev/kvm cannot be opened: Permission denied; on Debian its group is kvm"),
    ("touch /dev/kvm", "/dev/kvm is no KVM of API version 12")],
    ids=["absent", "folder", "not-ours", "file"])
def test_without_kvm(refusal, prepare, said):
    """In a /dev of its own."""
    told = refusal.said("--no-jail --kernel {image}", wrapper=[
        "unshare", "--mount", "sh", "-c",
        f'mount -t tmpfs dev /dev && {prepare} && exec "$@"', "sh"])
    assert told.endswith(said), told
