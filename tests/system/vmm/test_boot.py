# SPDX-License-Identifier: BSD-3-Clause
"""What the VMM hands over to its guest, how guests end, and what the VMM gives up for them."""

import contextlib
import ctypes
import errno
import fcntl
import functools
import mmap
import os
import pathlib
import pty
import re
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import termios

import pytest

import lab as parts

from . import tracing

MIB = 1 << 20
GIB = 1 << 30
MAP_HUGETLB = 0x40000  # Python has no name for it
HOLE = 3 * GIB, 4 * GIB  # without RAM, as vmm/platform.hh has it
RAM, RESERVED = 1, 2

images = pytest.mark.parametrize("linux", [False, True], ids=["pvh", "linux"])


# ---- what a guest is handed over ----

def fnv1a(data):
    digest = 0xcbf29ce484222325
    for byte in data:
        digest = (digest ^ byte) * 0x100000001b3 % (1 << 64)
    return digest


def memory_map(guest):
    """(start, end, type) of each range."""
    ranges = [line.split() for line in guest.told("memory")]
    return [(int(start, 16), int(start, 16) + int(length, 16), int(kind))
            for start, length, kind in ranges]


@images
@pytest.mark.parametrize("memory", ["64M", "3072M", "5G"])
def test_hello(lab, tmp_path, linux, memory):
    """Memory map, ACPI tables, command line and RAM disk, by each of the two entries."""
    disk = tmp_path / "initrd"
    content = bytes(i * 7 % 251 for i in range(100_003))
    disk.write_bytes(content)
    words = "hello  seconds=1"
    guest = lab.bare_guest(words, linux=linux, memory=memory,
                           arguments=["--initrd", disk]).finish()
    assert guest.text("boot") == ("linux" if linux else "pvh")
    assert guest.text("command_line") == words
    assert guest.text("acpi") == "ok"
    assert guest.text("acpi_tables").split() == ["FACP", "DSDT", "APIC"]
    assert guest.number("cpus") == 1

    ranges = memory_map(guest)
    assert ranges == sorted(ranges)
    assert all(end <= start for (_, end, _), (start, _, _) in zip(ranges, ranges[1:]))
    ram = [(start, end) for start, end, kind in ranges if kind == RAM]
    size = int(memory.rstrip("MG")) * (GIB if memory.endswith("G") else MIB)
    expected = [(MIB, min(size, HOLE[0]))]
    if size > HOLE[0]:
        expected.append((HOLE[1], HOLE[1] + size - HOLE[0]))
    assert ram[1:] == expected and ram[0][0] == 0 and ram[0][1] < MIB
    assert any(start <= guest.number("rsdp") < end for start, end, kind in ranges
               if kind == RESERVED)

    start, length = (int(word, 16) for word in guest.text("initrd").split())
    assert length == len(content)
    assert any(begin <= start and start + length <= end for begin, end in ram)
    assert guest.number("initrd_hash") == fnv1a(content)


def test_long_command_line(lab):
    words = "hello" + " seconds=1" * 200
    assert lab.bare_guest(words).finish().text("command_line") == words


@images
@pytest.mark.parametrize("cpus", [1, 2, 4, 32])
def test_cpus(lab, cpus, linux):
    guest = lab.bare_guest("hello smp", cpus=cpus, linux=linux).finish()
    assert guest.number("cpus") == cpus
    assert guest.number("smp") == cpus


def test_devices(lab, tmp_path):
    """The functions on the bus are the devices that were configured, each with its own memory."""
    disks = [tmp_path / name for name in ("one", "two")]
    for disk in disks:
        disk.write_bytes(bytes(MIB))
    guest = lab.bare_guest(
        "pci button", nets=[f"socket={tmp_path}/a", f"socket={tmp_path}/b,queues=4"],
        disks=[disks[0], f"{disks[1]},read-only=on,serial=second"])
    guest.wait_told("button", "waiting")
    info = guest.vm("info")
    assert [net["socket"] for net in info["nets"]] == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert info["disks"] == [{"path": str(disks[0]), "read_only": False},
                             {"path": str(disks[1]), "read_only": True}]
    guest.press()
    guest.finish()
    functions = [line.split() for line in guest.told("pci")]
    assert [name for _, name, *_ in functions] == [
        "8086:0d57", "1af4:1041", "1af4:1041", "1af4:1042", "1af4:1042", "1af4:1044"]
    assert guest.number("pci_functions") == len(functions)
    bars = sorted((int(start, 16), int(start, 16) + int(size, 16))
                  for _, _, kind, start, size in map(str.split, guest.told("bar"))
                  if kind.startswith("memory"))
    assert len(bars) >= 5
    assert all(HOLE[0] <= start and end <= HOLE[1] for start, end in bars)
    assert all(end <= start for (_, end), (start, _) in zip(bars, bars[1:]))
    vectors = {line.split()[0]: int(re.search(r"vectors=(\d+)", line)[1])
               for line in guest.told("capability") if "msix" in line}
    # One for each queue, and one for the configuration.
    assert [vectors[name] for name, *_ in functions[1:]] == [4, 10, 2, 2, 2]


def test_stages_of_a_boot(lab):
    """When each was reached, one after the other, and the last ones not before the guest did."""
    guest = lab.bare_guest("hello seconds=600 button")
    guest.wait_told("button", "waiting")
    reached = guest.vm("stats")["boot_us"]
    assert list(reached) == ["made", "loaded", "running", "first_output"]
    times = list(reached.values())
    assert times == sorted(set(times)) and 0 < times[0] and times[-1] < 60_000_000, reached
    assert guest.vm("stats")["boot_us"] == reached
    guest.press()
    guest.finish()


# ---- its ends ----

@pytest.mark.parametrize("end, status, said", [
    ("poweroff", 0, None),
    ("reset", 2, "the guest has reset itself"),
    ("triple", 2, "the guest has reset itself by a triple fault"),
    ("panic", 2, "the guest has reset itself"),
])
@images
def test_ends(lab, end, status, said, linux):
    guest = lab.bare_guest(f"end={end}", linux=linux)
    assert guest.wait() == status
    assert guest.log() == ([f"info vm: {said}"] if said else [])
    assert ("panic" in guest.console()) == (end == "panic")
    assert not guest.control.exists()


def test_a_log_that_is_bounded_begins_anew(lab, tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"a line of months ago\n" * 50_000)
    guest = lab.bare_guest("end=reset", arguments=["--bounded-log"],
                           wrapper=["sh", "-c", f'exec "$@" 2>> {log}', "sh"])
    assert guest.wait() == 2
    first, last = log.read_text().splitlines()
    assert "begun anew: there were 1050000 bytes of it" in first
    assert last.endswith("the guest has reset itself")


@pytest.mark.parametrize("end, how", [
    ("reset", ""), ("triple", " by a triple fault"), ("panic", "")])
@images
def test_begins_anew(lab, end, how, linux):
    guest = lab.bare_guest(f"hello smp end={end}", cpus=2, reboot=True, linux=linux)
    guest.wait_told("smp", "2", times=4)
    assert guest.process.running
    guest.vm("stop", force=True)
    assert guest.wait() == 4
    assert set(guest.told("acpi")) == {"ok"} and set(guest.told("smp")) == {"2"}
    assert f"info vm: the guest has reset itself{how} and begins anew" in guest.log()


def elf(code):
    """An image without PVH's entry that lies at 1 MiB and begins with code, in 64 bits."""
    at, offset = MIB, 4096
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, at, 64, 0, 0, 64,
                         56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, offset, at, at, len(code), len(code), 4096)
    return (header + segment).ljust(offset, b"\0") + code


def test_cannot_go_on(lab, tmp_path):
    """A guest that executes what is no memory."""
    kernel = tmp_path / "kernel"
    kernel.write_bytes(elf(b"\xb8\x00\x00\x00\xd0"  # mov eax, 0xd0000000
                           b"\xff\xe0"))            # jmp rax
    guest = lab.bare_guest(kernel=kernel)
    assert guest.wait() == 3
    assert len(guest.log()) == 1
    assert re.fullmatch(r"error vm: the guest cannot go on: KVM cannot execute what it does "
                        r"\(internal error \d+\)", guest.log()[0])


def kill_thread(pid, name):
    """SIGBUS, as one has whose memory is gone."""
    tgkill = 234
    thread = next(int(task.name) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
                  if (task / "comm").read_text(encoding="ascii").strip() == name)
    assert ctypes.CDLL(None).syscall(tgkill, pid, thread, signal.SIGBUS) == 0


@pytest.mark.parametrize("end, status", [
    (lambda pid: kill_thread(pid, "strait-vmm"), 3),
    (lambda pid: kill_thread(pid, "vcpu0"), 3),
    (lambda pid: os.kill(pid, signal.SIGKILL), 137)], ids=["main", "vcpu", "killed"])
def test_terminal_is_put_back(end, status):
    """Also by a process that does not end as it wants to."""
    jailed = "ASAN_OPTIONS" not in os.environ  # as in lab/bare.py
    if status == 137 and not jailed:
        pytest.skip("without a jail nobody is there to do it")
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with subprocess.Popen(
            [parts.BareGuest.program(), "run", "--kernel", parts.BareGuest.image(), "--memory",
             "64M", "--command-line", f"{parts.BareGuest.PATIENT} button",
             *([] if jailed else ["--no-jail"])],
            stdin=slave, stdout=slave, stderr=subprocess.DEVNULL) as vmm:
        try:
            shown = b""
            while b"button=waiting" not in shown:
                shown += os.read(master, 4096)
            assert termios.tcgetattr(slave) != before
            children = pathlib.Path(f"/proc/{vmm.pid}/task/{vmm.pid}/children")
            end(int((children.read_text(encoding="ascii").split() or [vmm.pid])[0]))
            assert vmm.wait(30) == status
            assert termios.tcgetattr(slave) == before
        finally:
            vmm.kill()
            os.close(master)
            os.close(slave)


def sigterm(guest):
    guest.process.signal(signal.SIGTERM)


def sigint(guest):
    guest.process.signal(signal.SIGINT)


@pytest.mark.parametrize("ask", [sigterm, sigint, parts.BareGuest.press])
@pytest.mark.parametrize("end, reboot", [("poweroff", False), ("reset", False), ("reset", True)])
def test_power_button(lab, ask, end, reboot):
    """Heard: the guest switches itself off, be it by a reset."""
    guest = lab.bare_guest(f"seconds=600 button end={end}", reboot=reboot)
    guest.wait_told("button", "waiting")
    ask(guest)
    assert guest.wait() == 0
    assert guest.told("button") == ["waiting", "1"]
    assert guest.number("button_interrupts") == 1
    assert guest.number("button_after_read") == 0


def test_hangup_is_not_heard_under_nohup(lab):
    guest = lab.bare_guest("seconds=600 button end=poweroff", wrapper=["nohup"])
    guest.wait_told("button", "waiting")
    os.kill(guest.process.pid, signal.SIGHUP)
    os.kill(guest.pid, signal.SIGHUP)
    assert guest.vm("info")["state"] == "running"
    sigterm(guest)
    assert guest.wait() == 0
    assert guest.told("button") == ["waiting", "1"]


def sighup(guest):
    guest.process.signal(signal.SIGHUP)


@pytest.mark.parametrize("again", [
    sigterm, sigint, sighup, lambda guest: guest.vm("stop", force=True)],
    ids=["sigterm", "sigint", "sighup", "force"])
def test_power_button_unheard(lab, again):
    guest = lab.bare_guest("hello end=hlt")
    guest.wait_told("end", "hlt")
    sigterm(guest)
    parts.wait_until(lambda: guest.vm("info")["state"] == "stopping", 60, "the VMM asking")
    assert guest.process.running
    again(guest)
    assert guest.wait() == 4


@pytest.mark.soak
def test_power_button_unheard_for_long(lab):
    guest = lab.bare_guest("end=hlt")
    guest.wait_told("end", "hlt")
    sigterm(guest)
    assert guest.wait(300) == 4
    assert guest.log() == ["warning vm: the guest did not switch itself off within 30 s and was "
                           "ended: it never looked at its power button"]


@pytest.mark.parametrize("words, cpus", [("end=hlt", 1), ("sleep=1000000", 1),
                                         ("smp sleep=1000000", 4), ("seconds=600 button", 2)])
def test_forced(lab, words, cpus):
    """Whatever it does: halts for ever, sleeps, or waits on one of several CPUs."""
    guest = lab.bare_guest(f"hello {words}", cpus=cpus)
    guest.wait_told("cpus")
    guest.vm("stop", force=True)
    assert guest.wait() == 4
    assert guest.log() == []


def test_pause(lab):
    """A guest that is paused does nothing; asked to end, it goes on."""
    guest = lab.bare_guest("hello seconds=600 button")
    guest.wait_told("button", "waiting")
    assert guest.vm("pause")["state"] == guest.vm("info")["state"] == "paused"
    before = guest.vm("stats")["exits"]
    assert guest.vm("stats")["exits"] == before
    assert guest.vm("resume")["state"] == guest.vm("info")["state"] == "running"
    guest.vm("pause")
    guest.press()
    guest.finish()


def test_console_by_socket(lab, tmp_path):
    """One client at a time, which is told from the beginning."""
    import socket
    path = tmp_path / "console"
    guest = lab.bare_guest("hello seconds=600 button", arguments=["--console", f"socket:{path}"],
                           console=False)
    parts.wait_until(path.exists, 60, "the console's socket")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(path))
            text = client.makefile()
            assert text.readline() == "hello=strait-test-guest\n"
            while text.readline() != "button=waiting\n":
                pass
    guest.press()
    assert guest.wait() == 0
    assert not path.exists()


# ---- what the VMM gives up ----

def status_of(pid, thread=None):
    path = f"/proc/{pid}/task/{thread}/status" if thread else f"/proc/{pid}/status"
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def mounts_of(pid):
    """The folders where something is mounted, as it sees them."""
    mounts = pathlib.Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8").splitlines()
    return sorted(line.split()[4] for line in mounts)


def threads_of(pid):
    """The status of each, by its number, but for the kernel's own, which look like the process's.
    """
    found = {int(thread): status_of(pid, thread) for thread in os.listdir(f"/proc/{pid}/task")}
    return {number: status for number, status in found.items()
            if not status["Name"].startswith("kvm-")}


def busy_guest(lab, tmp_path, *arguments, cpus=2, **options):
    """With every kind of thread, waiting for its power button."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(MIB))
    guest = lab.bare_guest("smp net seconds=600 button", cpus=cpus, disks=[disk],
                           nets=[f"socket={tmp_path}/net"], arguments=arguments, **options)
    guest.wait_told("button", "waiting")
    return guest


def memory_areas(pid):
    """(what is mapped, KiB by smaps' word) of each."""
    areas = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", words[0]):
            areas.append((" ".join(words[5:]), {}))
        elif words[-1] == "kB":
            areas[-1][1][words[0].rstrip(":")] = int(words[1])
    return areas


@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="a sanitizer's memory would count, too")
def test_memory_beside_the_guests(lab, tmp_path):
    """5 MiB for one CPU and a guest of 128 MiB: all that its two processes have in memory, text of
    programs, too, and what they share with others in parts, but for the guest's own."""
    guest = lab.bare_guest("net seconds=600 button", memory="128M",
                           nets=[f"socket={tmp_path}/net"])
    guest.wait_told("button", "waiting")
    pids = {guest.process.pid, guest.pid}
    areas = [area for pid in pids for area in memory_areas(pid)]
    of_guest = sum(kib["Pss"] for name, kib in areas if "memfd:strait-guest" in name)
    beside = sum(kib["Pss"] for name, kib in areas if "memfd:strait-guest" not in name)
    written = sum(kib["Anonymous"] for _, kib in areas)
    print(f"{beside} KiB, {written} KiB of them written")
    assert len(pids) == 2 and of_guest > 0
    assert 0 < beside <= 5 * 1024
    guest.press()
    guest.finish()


def test_memory_is_sealed(lab, tmp_path):
    """Nobody who is given the guest's memory can take pages away from under it."""
    guest = busy_guest(lab, tmp_path)
    fds = pathlib.Path(f"/proc/{guest.pid}/fd")
    file = next(fd for fd in fds.iterdir() if "memfd:strait-guest" in os.readlink(fd))
    with open(file, "rb") as memory:
        assert fcntl.fcntl(memory, fcntl.F_GET_SEALS) == (
            fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    guest.press()
    guest.finish()


def test_who_is_not_root_needs_no_rights(lab, monkeypatch):
    """But to /dev/kvm, as one of its group."""
    group = os.stat("/dev/kvm").st_gid
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for name in ("program", "image"):  # the build folder may be closed to others
            copy = shutil.copy(getattr(parts.BareGuest, name)(), folder)
            monkeypatch.setattr(parts.BareGuest, name, staticmethod(lambda *_, copy=copy: copy))
        guest = lab.bare_guest("hello button seconds=60", wrapper=[
            "setpriv", "--reuid=65534", "--regid=65534", f"--groups={group}", "--inh-caps=-all"])
        guest.wait_told("button", "waiting")
        status = threads_of(guest.pid)[guest.pid]
        assert set(status["Uid"].split()) == {"65534"} and int(status["CapEff"], 16) == 0
        guest.press()
        guest.finish()


def test_jail(lab, tmp_path):
    """System calls are filtered in all threads, rights are none, and of the file system only the
    folders of sockets are there."""
    guest = busy_guest(lab, tmp_path)
    threads = threads_of(guest.pid)
    names = {thread["Name"] for thread in threads.values()}
    assert {"vcpu0", "vcpu1", "net0"} <= names, names
    for thread in threads.values():
        assert thread["Seccomp"] == "2", thread["Name"]
        # All are begun by the main thread, whose filter they have beside their own.
        main = thread["Pid"] == thread["Tgid"]
        assert thread["Seccomp_filters"] == ("1" if main else "2"), thread["Name"]
        assert thread["NoNewPrivs"] == "1"
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(thread[kind], 16) == 0, (thread["Name"], kind)
    for kind in ("mnt", "net", "ipc", "uts", "pid"):
        assert os.readlink(f"/proc/{guest.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    # Each folder on the way has but the next one in it.
    root = pathlib.Path(f"/proc/{guest.pid}/root")
    there = {path for path in (tmp_path, guest.folder)}
    allowed = {str(parent) for path in there for parent in path.parents} | set(map(str, there))
    for parent in sorted({parent for path in there for parent in path.parents}):
        for found in os.listdir(root / str(parent).lstrip("/")):
            assert str(parent / found) in allowed
    # Nor is anything mounted out of sight, as what was the root would be.
    assert mounts_of(guest.pid) == sorted(["/", *map(str, there)])
    assert os.path.samefile(root / str(tmp_path / "disk").lstrip("/"), tmp_path / "disk")
    limits = pathlib.Path(f"/proc/{guest.pid}/limits").read_text(encoding="ascii")
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert re.search(r"Max open files +4096 +4096 ", limits)
    assert os.listdir(guest.temporary) == []
    guest.press()
    guest.finish()


def test_jail_is_nobody_elses(lab, tmp_path):
    """Where mounts are shared, as systemd has them, what is mounted for the jail is not."""
    guest = busy_guest(lab, tmp_path, wrapper=["unshare", "--mount", "--propagation", "shared"])
    assert os.readlink(f"/proc/{guest.process.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    assert mounts_of(guest.process.pid) == mounts_of("self")
    guest.press()
    guest.finish()


SOCKET, CLONE, EXECVE, OPENAT = 41, 56, 59, 257
AF_UNIX, SOCK_STREAM = 1, 1


@pytest.mark.parametrize("name, number, allowed", [
    ("vcpu0", SOCKET, False), ("vcpu0", OPENAT, False), ("net0", SOCKET, True),
    ("net0", OPENAT, False), ("strait-vmm", OPENAT, True), ("strait-vmm", EXECVE, False),
    ("strait-vmm", CLONE, False)])
def test_calls_of_each_thread(lab, tmp_path, name, number, allowed):
    """Each kind of thread has what it needs; what another one needs ends the process."""
    guest = busy_guest(lab, tmp_path, cpus=1)
    thread = next(number for number, thread in threads_of(guest.pid).items()
                  if thread["Name"] == name)
    arguments = (AF_UNIX, SOCK_STREAM, 0) if number == SOCKET else (0, 0, 0)
    try:
        result = tracing.call(thread, number, *arguments)
    except PermissionError:
        pytest.skip("ptrace is not allowed here")
    except ProcessLookupError:
        assert not allowed
        assert guest.wait() == 128 + signal.SIGSYS
        return
    assert allowed, result
    assert result >= 0 if number == SOCKET else result == -errno.EFAULT
    guest.press()
    guest.finish()


def test_does_not_outlive_who_waits(lab):
    """SIGKILL of the process outside the jail ends the one inside, as early or late as it may come;
    and neither has made a folder for the jail."""
    def inside(guest):
        return guest.pid if guest.pid != guest.process.pid else None
    left = []
    for late in [True] + 10 * [False]:
        guest = lab.bare_guest("hello end=hlt")
        if late:
            guest.wait_told("hello")
        left.append(parts.wait_until(functools.partial(inside, guest), 60, "a child", 0))
        guest.kill()
        assert os.listdir(guest.temporary) == []
    parts.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in left), 60,
                     "the processes in the jails ending")


def test_no_jail(lab, tmp_path):
    guest = busy_guest(lab, tmp_path, "--no-jail")
    assert guest.pid == guest.process.pid
    assert {thread["Seccomp"] for thread in threads_of(guest.pid).values()} == {
        status_of("self")["Seccomp"]}
    for kind in ("mnt", "net", "ipc", "uts", "pid"):
        assert os.readlink(f"/proc/{guest.pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
    guest.press()
    guest.finish()


@pytest.mark.parametrize("user, group", [("nobody", None), ("nobody", "daemon"),
                                         ("12345", "54321")])
def test_becomes_a_user(lab, tmp_path, user, group):
    import grp
    import pwd
    if user.isdigit():
        ids = int(user), int(group)
    else:
        entry = pwd.getpwnam(user)
        ids = entry.pw_uid, grp.getgrnam(group).gr_gid if group else entry.pw_gid
    tmp_path.chmod(0o755)
    guest = busy_guest(lab, tmp_path, "--user", f"{user}:{group}" if group else user)
    for thread in threads_of(guest.pid).values():
        assert set(map(int, thread["Uid"].split())) == {ids[0]}
        assert set(map(int, thread["Gid"].split())) == {ids[1]}
        assert thread["Groups"] == ""
        assert thread["Seccomp"] == "2"
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(thread[kind], 16) == 0
    assert guest.control.stat().st_uid == ids[0]
    # It begins anew as whom it has become.
    guest.press()
    guest.finish()


def test_user_begins_anew(lab):
    guest = lab.bare_guest("hello smp end=reset", cpus=2, reboot=True,
                           arguments=["--user", "nobody"])
    guest.wait_told("smp", "2", times=3)
    guest.vm("stop", force=True)
    assert guest.wait() == 4


def test_jail_folder_given(lab, tmp_path):
    """It is used, is empty outside, and stays."""
    folder = tmp_path / "jail"
    folder.mkdir()
    guest = busy_guest(lab, tmp_path, "--jail-folder", folder)
    assert os.listdir(folder) == []
    assert os.listdir(guest.temporary) == []
    guest.press()
    guest.finish()
    assert folder.is_dir()


# ---- its CPUs, memory and disks ----

def test_pinned(lab, tmp_path):
    allowed = sorted(os.sched_getaffinity(0))
    pins = {0: allowed[-1], 1: allowed[0]}
    guest = busy_guest(lab, tmp_path, "--vcpu-pin",
                       ",".join(f"{vcpu}={cpu}" for vcpu, cpu in pins.items()), cpus=3)
    affinities = {thread["Name"]: os.sched_getaffinity(number)
                  for number, thread in threads_of(guest.pid).items()}
    for vcpu, cpu in pins.items():
        assert affinities[f"vcpu{vcpu}"] == {cpu}
    others = {name: cpus for name, cpus in affinities.items() if name not in ("vcpu0", "vcpu1")}
    assert set(map(frozenset, others.values())) == {frozenset(allowed)}, others
    guest.press()
    guest.finish()


def may_set_limits():
    """Whether we may, as root does, unless he is a container's."""
    import resource
    kept = resource.getrlimit(resource.RLIMIT_RTPRIO)
    try:
        resource.setrlimit(resource.RLIMIT_RTPRIO, (kept[0], max(kept[1], 3)))
        resource.setrlimit(resource.RLIMIT_RTPRIO, kept)
    except (OSError, ValueError):
        return False
    return True


@pytest.mark.parametrize("jail", [True, False], ids=["jail", "no-jail"])
def test_real_time(lab, tmp_path, jail):
    if jail and not may_set_limits():
        pytest.skip("RLIMIT_RTPRIO cannot be raised here")
    guest = busy_guest(lab, tmp_path, "--realtime", "3", *([] if jail else ["--no-jail"]))
    for number, thread in threads_of(guest.pid).items():
        is_vcpu = thread["Name"].startswith("vcpu")
        assert os.sched_getscheduler(number) == (os.SCHED_FIFO if is_vcpu else os.SCHED_OTHER)
        assert os.sched_getparam(number).sched_priority == (3 if is_vcpu else 0)
    guest.press()
    guest.finish()


@contextlib.contextmanager
def free_huge_pages(size, count):
    """The kernel's folder of huge pages of that size; count of them are free, as many of them as
    there were not before given back."""
    folder = pathlib.Path(f"/sys/kernel/mm/hugepages/hugepages-{size // 1024}kB")
    if not folder.exists():
        pytest.skip(f"this kernel has no huge pages of {size >> 20} MiB")
    knob = folder / "nr_hugepages"
    before = int(knob.read_text(encoding="ascii"))
    try:
        if number_in(folder / "free_hugepages") < count:
            knob.write_text(str(before + count), encoding="ascii")
        if number_in(folder / "free_hugepages") < count:
            pytest.skip(f"{count} huge pages of {size >> 20} MiB cannot be had")
        yield folder
    finally:
        knob.write_text(str(before), encoding="ascii")


def number_in(path):
    return int(path.read_text(encoding="ascii"))


@pytest.fixture
def huge_pages():
    with free_huge_pages(2 * MIB, 64):
        yield


@pytest.mark.parametrize("name, memory, size, count", [("2M", "64M", 2 * MIB, 32),
                                                       ("1G", "1G", GIB, 1)], ids=["2M", "1G"])
def test_huge_pages(lab, tmp_path, name, memory, size, count):
    """All at once, and no more of them than the guest's memory is."""
    with free_huge_pages(size, count) as folder:
        before = number_in(folder / "free_hugepages")
        guest = busy_guest(lab, tmp_path, "--hugepages", name, memory=memory)
        assert before - number_in(folder / "free_hugepages") == count
        smaps = pathlib.Path(f"/proc/{guest.pid}/smaps").read_text(encoding="ascii",
                                                                  errors="replace")
        area = smaps[smaps.index("memfd:strait-guest"):]
        assert int(re.search(r"^KernelPageSize: +(\d+) kB", area, re.M)[1]) * 1024 == size
        guest.press()
        guest.finish()
        parts.wait_until(lambda: number_in(folder / "free_hugepages") == before, 60,
                         "huge pages given back")


def test_huge_pages_taken_away(lab, tmp_path, huge_pages):
    """A back end punches holes into the memory, none are free, and it hangs up: the VMM that looks
    where the rings stood says what is missing. The guest, which is paused, does nothing."""
    path = tmp_path / "net"
    with contextlib.closing(lab.back_end(path)):
        guest = busy_guest(lab, tmp_path, "--hugepages", "2M")
        parts.wait_until(lambda: guest.vm("info")["nets"][0]["serving"], 20, "rings")
        guest.vm("pause")
        fds = pathlib.Path(f"/proc/{guest.pid}/fd")
        file = next(fd for fd in fds.iterdir() if "memfd:strait-guest" in os.readlink(fd))
        subprocess.run(["fallocate", "--punch-hole", "--length", "64MiB", file], check=True)
        # Reserved is as good as taken, and goes with the mapping.
        taken = mmap.mmap(-1, parts.huge_pages_free() * 2 * MIB,
                          flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | MAP_HUGETLB)
    with taken, contextlib.closing(lab.back_end(path)):
        assert guest.wait(20) == 3
    assert guest.log()[-1] == (
        "strait-vmm: the guest cannot go on: a huge page of its memory was taken away, by a back "
        "end that shares it, and none is free to replace it (sysctl vm.nr_hugepages)")


def flags_of(pid, path):
    """How a process has a file open."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{number}") == str(path):
            info = pathlib.Path(f"/proc/{pid}/fdinfo/{number}").read_text(encoding="ascii")
            return int(re.search(r"flags:\s+(\d+)", info)[1], 8)
    raise AssertionError(f"{path} is not open")


def test_read_only_disk(lab, tmp_path):
    """It is not even open for writing."""
    disks = {access: tmp_path / access for access in ("rw", "ro")}
    for disk in disks.values():
        disk.write_bytes(bytes(MIB))
    guest = lab.bare_guest("pci seconds=600 button",
                           disks=[disks["rw"], f"{disks['ro']},read-only=on"])
    guest.wait_told("button", "waiting")
    assert flags_of(guest.pid, disks["rw"]) & os.O_ACCMODE == os.O_RDWR
    assert flags_of(guest.pid, disks["ro"]) & os.O_ACCMODE == os.O_RDONLY
    guest.press()
    guest.finish()
