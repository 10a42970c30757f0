# SPDX-License-Identifier: BSD-3-Clause
# The machine under the benchmark: child processes and their threads, CPU time waited for, half a
# CPU for a thread, memory taken by a process. Knows no switch and no scenario.

import atexit
import contextlib
import ctypes
import itertools
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_children = []
_namespaces = []


class BenchError(Exception):
    """Something a person has to know: one sentence."""


def _prepare(cpus):
    """In a new process, first of a session: it ends with us, runs on `cpus`, its session has our
    priority. Where the kernel shares CPUs out by session, a process's own counts only there."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if cpus is not None:
        os.sched_setaffinity(0, set(cpus))
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice != 0:
        _set_session_nice(nice)


def _set_session_nice(nice):
    try:
        with open("/proc/self/autogroup", "w", encoding="ascii") as group:
            group.write(str(nice))
    except OSError:
        pass


def raise_priority(nice):
    """Ours, and what we start from now on; our session's goes back to 0 when we end."""
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    if nice != 0:
        _set_session_nice(nice)
        atexit.register(_set_session_nice, 0)


class Child:
    """A process of ours whose output is kept; a terminal stands behind stdout, so that it is not
    buffered."""

    def __init__(self, command, cpus=None, env=None, name=None):
        self.name = name or os.path.basename(command[0])
        self.output = ""
        self._more = threading.Condition()
        self._ended = False
        master, slave = pty.openpty()
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=slave, stderr=slave, env=env,
                preexec_fn=lambda: _prepare(cpus), start_new_session=True)
        except OSError as error:
            os.close(master)
            raise BenchError(f"{command[0]} cannot be run: {error.strerror}") from error
        finally:
            os.close(slave)
        self._master = master
        _children.append(self)
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self):
        return self.process.pid

    def _read(self):
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                data = b""
            with self._more:
                if data:
                    self.output += data.decode(errors="replace").replace("\r\n", "\n")
                else:
                    self._ended = True
                self._more.notify_all()
            if not data:
                return

    def wait_for(self, pattern, timeout, start=0):
        """Waits for a regular expression in the output from `start` on; returns the match."""
        compiled = re.compile(pattern)
        end = time.monotonic() + timeout
        with self._more:
            while True:
                found = compiled.search(self.output, start)
                if found:
                    return found
                if self._ended:
                    raise BenchError(f"{self.name} ended early: {self.last_words()}")
                left = end - time.monotonic()
                if left <= 0:
                    raise BenchError(f"{self.name} did not say /{pattern}/ within {timeout} s: "
                                     f"{self.last_words()}")
                self._more.wait(left)

    def say(self, text):
        try:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()
        except OSError as error:
            raise BenchError(f"{self.name} ended early: {self.last_words()}") from error

    def ask(self, text, pattern, timeout=10):
        """Types a line and waits for an answer; returns all that was said since."""
        start = len(self.output)
        self.say(text + "\n")
        self.wait_for(pattern, timeout, start)
        return self.output[start:]

    def last_words(self):
        words = [line for line in self.output.strip().split("\n") if line.strip()]
        return " | ".join(words[-4:]) or "(it said nothing)"

    def running(self):
        return self.process.poll() is None

    def end(self, polite=signal.SIGTERM, patience=5):
        """Ends the process, politely first, and forgets it. Returns its exit status."""
        if self.running():
            self.process.send_signal(polite)
        status = self.finish(patience)
        return status

    def finish(self, patience):
        """Waits until the process has ended by itself, and kills it if it does not."""
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with self._more:
            self._more.wait_for(lambda: self._ended, 2)
        if self in _children:
            _children.remove(self)
            os.close(self._master)
            try:
                self.process.stdin.close()
            except OSError:
                pass  # it ended with a line of ours unread
        return self.process.returncode


@atexit.register
def _end_children():
    for child in list(_children):
        child.process.kill()
        child.process.wait()


def run(command, timeout=30, env=None, cpus=None):
    """Runs a command to its end; what it printed, or an error with what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env,
                              preexec_fn=lambda: _prepare(cpus), start_new_session=True,
                              check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{command[0]} did not answer within {timeout} s") from error
    except OSError as error:
        raise BenchError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise BenchError(f"{' '.join(command)} failed with {done.returncode}: {said}")
    return done.stdout


def wait_until(condition, timeout, what):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"{what} did not happen within {timeout} s")
        time.sleep(0.005)


def listens(path):
    """Whether somebody takes connections at this UNIX socket."""
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(str(path)) == 0


def settle():
    """Between two runs: a moment for the kernel to take back memory and sockets."""
    time.sleep(0.1)


class RunFolder(tempfile.TemporaryDirectory):
    """A private folder with a short name: socket paths are short."""

    def __init__(self):
        super().__init__(prefix="bench-", dir="/tmp", ignore_cleanup_errors=True)
        self.path = pathlib.Path(self.name)

    def cleanup(self):
        """Also what DPDK keeps of the programs that were started with this folder's name."""
        super().cleanup()
        for folder in pathlib.Path("/var/run/dpdk").glob(self.path.name + "*"):
            shutil.rmtree(folder, ignore_errors=True)


class Namespace:
    """A network namespace of our own, with taps in it that talk to nobody unasked."""

    _numbers = itertools.count(1)

    def __init__(self):
        self.name = f"strait-bench-{os.getpid()}-{next(Namespace._numbers)}"
        run(["ip", "netns", "add", self.name])
        _namespaces.append(self)
        self.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                  "net.ipv6.conf.default.disable_ipv6=1"])

    def command(self, words):
        """What runs a command in here, in the same process."""
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, words):
        return run(self.command(words))

    def ip(self, *words):
        return run(["ip", "-n", self.name, *map(str, words)])

    def add_tap(self, name, mtu):
        self.ip("tuntap", "add", "dev", name, "mode", "tap")
        self.ip("link", "set", name, "mtu", mtu, "txqueuelen", 10000, "up")

    def close(self):
        if self in _namespaces:
            _namespaces.remove(self)
            run(["ip", "netns", "del", self.name])


@atexit.register
def _end_namespaces():
    for namespace in list(_namespaces):
        namespace.close()


class Programs:
    """Where Strait's own programs are: a build's bin, or the folders of an installation."""

    def __init__(self, folders):
        self.folders = [pathlib.Path(folder).resolve() for folder in folders]

    def has(self, name):
        return any(os.access(folder / name, os.X_OK) for folder in self.folders)

    def path(self, name):
        for folder in self.folders:
            if os.access(folder / name, os.X_OK):
                return folder / name
        raise BenchError(f"{name} is not in {' or '.join(map(str, self.folders))}; build it, or "
                         f"name a build folder with --build")


def first_line(command, pattern):
    """All that a command says of what the pattern's group is, in one line; empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ", ".join(dict.fromkeys(re.findall(pattern, done.stdout + done.stderr)))[:100]


# Threads and the time they waited for a CPU


def threads(pid):
    try:
        return [int(entry) for entry in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError as error:
        raise BenchError(f"process {pid} has ended") from error


def thread_pinned_to(pid, cpu):
    """The thread of a process that is pinned to `cpu` alone and used the most time on it."""
    def read(tid, what):
        try:
            return pathlib.Path(f"/proc/{pid}/task/{tid}/{what}").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None  # it ended since it was listed

    def used(tid):
        stat = read(tid, "stat")
        fields = stat.rsplit(")", 1)[1].split() if stat else []
        return int(fields[11]) + int(fields[12]) if fields else -1

    def pinned(tid):
        status = read(tid, "status")
        return (status is not None and
                re.search(r"Cpus_allowed_list:\s*(\S+)", status).group(1) == str(cpu))

    found = [(used(tid), tid) for tid in threads(pid) if tid != pid and pinned(tid)]
    if not found:
        found = [(used(tid), tid) for tid in threads(pid) if pinned(tid)]
    if not found:
        raise BenchError(f"process {pid} has no thread pinned to CPU {cpu}")
    return max(found)[1]


def waited(tid):
    """Nanoseconds a thread was ready to run and did not."""
    try:
        return int(pathlib.Path(f"/proc/{tid}/schedstat").read_text().split()[1])
    except FileNotFoundError as error:
        raise BenchError(f"thread {tid} ended during a run") from error


def stolen():
    """Seconds the hypervisor took from this machine, over all CPUs."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


# Where threads run, and how much


class Unpinned:
    """Lets threads run on any of `cpus`; from end() on they are where they were."""

    def __init__(self, tids, cpus):
        self._before = {}
        try:
            for tid in tids:
                self._before[tid] = os.sched_getaffinity(tid)
                os.sched_setaffinity(tid, cpus)
        except OSError as error:
            self.end()
            raise BenchError(f"thread {tid} cannot be let run on CPUs {sorted(cpus)}: "
                             f"{error.strerror}") from error

    def end(self):
        for tid, cpus in self._before.items():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(tid, cpus)


class HalfCpu:
    """Holds one thread to half of its CPU: by the quota of a cgroup (version 1 or 2), or, where
    there is none to be had, by a spinning competitor of the same weight on its CPU."""

    PERIOD = 10_000  # microseconds

    def __init__(self, pid, tid, cpu):
        self.method = None
        self._made = []
        self._competitor = None
        for attempt in (self._version_1, self._version_2):
            try:
                attempt(pid, tid)
                return
            except OSError:
                self._remove()
        self._compete(cpu)

    def _version_1(self, _pid, tid):
        group = pathlib.Path(f"/sys/fs/cgroup/cpu/strait-bench-{tid}")
        if not (group.parent / "cpu.cfs_quota_us").exists():
            raise FileNotFoundError
        group.mkdir()
        self._made.append((group, "tasks"))
        (group / "cpu.cfs_period_us").write_text(str(self.PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(self.PERIOD // 2))
        # Half is what it gets, whoever else is on the CPU.
        (group / "cpu.shares").write_text("262144")
        (group / "tasks").write_text(str(tid))
        self.method = "cgroup v1 quota, 5 of 10 ms"

    def _version_2(self, pid, tid):
        root = pathlib.Path("/sys/fs/cgroup")
        if "cpu" not in (root / "cgroup.controllers").read_text().split():
            raise FileNotFoundError
        (root / "cgroup.subtree_control").write_text("+cpu")
        group = root / f"strait-bench-{pid}"
        group.mkdir()
        self._made.append((group, "cgroup.procs"))
        (group / "cgroup.procs").write_text(str(pid))
        worker = group / "worker"
        worker.mkdir()
        self._made.append((worker, "cgroup.threads"))
        (worker / "cgroup.type").write_text("threaded")
        (group / "cgroup.subtree_control").write_text("+cpu")
        (group / "cpu.weight").write_text("10000")
        (worker / "cpu.max").write_text(f"{self.PERIOD // 2} {self.PERIOD}")
        (worker / "cgroup.threads").write_text(str(tid))
        self.method = "cgroup v2 quota, 5 of 10 ms"

    def _compete(self, cpu):
        self._competitor = Child([sys.executable, "-c", "while True: pass"], cpus=[cpu],
                                 name="competitor")
        self.method = "a spinning competitor on the worker's CPU"

    def _remove(self):
        for group, members in self._made:
            parent = group.parent / members if members != "cgroup.threads" else None
            for member in (group / members).read_text().split() if parent else []:
                try:
                    parent.write_text(member)
                except OSError:
                    pass
        for group, _members in reversed(self._made):
            try:
                group.rmdir()
            except OSError:
                pass
        self._made = []

    def freeze(self):
        if self._competitor:
            self._competitor.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        if self._competitor:
            self._competitor.process.send_signal(signal.SIGCONT)

    def end(self):
        """After the process has ended, or before: its threads go back where they were."""
        self._remove()
        if self._competitor:
            self._competitor.end(signal.SIGKILL)


# Memory


def _read(path):
    return pathlib.Path(path).read_text()


def memory_of(pid, read=_read, without=None):
    """MiB by kind: anonymous (proportional), private dirty pages of files, huge pages. `read` gets
    a file of the process's machine; files whose path begins with `without` are left out."""
    rollup = read(f"/proc/{pid}/smaps_rollup")

    def total(name):
        return int(re.search(rf"^{name}:\s+(\d+) kB", rollup, re.M).group(1)) / 1024

    dirty_of_files = 0
    is_file = False
    dirty = 0
    for line in read(f"/proc/{pid}/smaps").splitlines():
        head = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+) *(.*)", line)
        if head:
            is_file = head.group(1) != "0" and not (without and head.group(2).startswith(without))
            dirty = 0
        elif line.startswith("Private_Dirty:"):
            dirty = int(line.split()[1])
        elif line.startswith("Anonymous:") and is_file:
            # Pages of a file that were written in a private mapping are anonymous, counted above.
            dirty_of_files += max(0, dirty - int(line.split()[1]))
    return {
        "anonymous": total("Pss_Anon"),
        "dirty_file": dirty_of_files / 1024,
        "huge": total("Shared_Hugetlb") + total("Private_Hugetlb"),
    }


def free_huge_mib():
    info = pathlib.Path("/proc/meminfo").read_text()
    free = int(re.search(r"HugePages_Free:\s+(\d+)", info).group(1))
    size = int(re.search(r"Hugepagesize:\s+(\d+)", info).group(1))
    return free * size // 1024
