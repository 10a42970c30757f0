# SPDX-License-Identifier: BSD-3-Clause
"""The configuration outlives the daemon: killed at any moment, with a full disk, with a store that
is damaged; and documents that bring a running switch to what they say."""

import contextlib
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import pytest

import lab as parts
from lab.switch import Refused, binaries


class Client:
    """Requests over the control socket, one after the other."""

    def __init__(self, switch):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(switch.run_dir / "control.sock"))
        self._file = self._socket.makefile("rb")

    def call(self, method, **parameters):
        """The result; None where the daemon is gone before it answers."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._file.readline()
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        answer = json.loads(line)
        assert "result" in answer, (request, answer)
        return answer["result"]

    def close(self):
        self._file.close()
        self._socket.close()


def document(switch):
    return switch.ctl("config show")


@pytest.fixture
def kept(lab):
    """In a namespace of its own, for taps."""
    return lab.switch(workers="0", persist=True, netns=lab.netns())


def fill(switch):
    """Something of every kind that needs no hardware."""
    switch.ctl("bridge add br0 --mac-ageing 77")
    switch.ctl("bridge add br1")
    switch.add_vhost("vm1", "--vlan", "10", "--number", "9")
    switch.add_vhost("vm2", "--ingress-rate", "100000")
    # Of the devices without hardware, one that lets its worker sleep.
    switch.add_nic("up0", "net_tap0,iface=up0", "--shape-rate", "1000000")
    switch.ctl("shaper set up0 1 --rate 1000 --priority 2")
    switch.ctl("port add t1 --bridge br0 --type vxlan --remote 10.9.0.2 --key 77")
    switch.ctl("address add br1 10.9.0.1/24")
    switch.ctl("route add 10.8.0.0/16 --via 10.9.0.254")
    switch.ctl("mac add 02:00:00:00:00:01 --port vm1")
    switch.ctl("binding add vm1 02:00:00:00:00:02 10.0.0.5")
    switch.ctl("meter", "add", "meter=1 kbps bands=type=drop rate=1000", "--bridge", "br0")
    switch.ctl("group", "add", "group_id=1,type=all,bucket=actions=output:vm2", "--bridge", "br0")
    switch.ctl("flow", "add", "priority=10,in_port=vm1,ip,actions=meter:1,group:1", "--bridge",
               "br0")
    switch.ctl("acl", "set", "web", "to allow tcp,tp_dst=80")
    switch.ctl("acl attach web vm2")
    switch.ctl("ct limit --zone 5 --set 1000")
    switch.ctl("mirror add m1 --bridge br0 --select-src-port vm1 --output-vlan 99")


def test_killed_and_started_everything_is_there(kept):
    fill(kept)
    before = document(kept)
    assert {"bridges", "ports", "classes", "addresses", "routes", "macs", "bindings", "meters",
            "groups", "flows", "acls", "attachments", "ct_limits", "mirrors"} <= before.keys()
    for _ in range(2):
        kept.kill()
        kept.start()
        assert document(kept) == before
    assert kept.ctl("port show vm1")["number"] == 9
    kept.restart()
    assert document(kept) == before
    assert "missing" not in before


class Model:
    """What a stream of changes makes of a switch, and the one change that may or may not be done
    when its answer did not come."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.ports = {}  # name: MTU
        self.flows = {}  # priority: port
        self.sets = {}  # name: number of rules
        self.possible = []

    def state(self):
        return (dict(self.ports), dict(self.flows), dict(self.sets))

    def change(self, client, folder):
        """One change; False where no answer came."""
        before = self.state()
        kind = self.random.choice(["port", "mtu", "del", "flow", "flow", "flow", "unflow", "acl",
                                   "unacl"])
        if kind == "port" and len(self.ports) < 6:
            name = f"p{self.random.randrange(1000)}"
            if name in self.ports:
                return True
            self.ports[name] = 1500
            request = ("port.add", {"name": name, "bridge": "br0", "type": "vhost-user",
                                    "socket": f"{folder}/{name}.sock"})
        elif kind == "mtu" and self.ports:
            name = self.random.choice(sorted(self.ports))
            self.ports[name] = self.random.randrange(1000, 9000)
            request = ("port.set", {"name": name, "mtu": self.ports[name]})
        elif kind == "del" and len(self.ports) > 3:
            name = self.random.choice(sorted(self.ports))
            del self.ports[name]
            request = ("port.del", {"name": name})
        elif kind == "flow":
            priority = self.random.randrange(1, 200)
            self.flows[priority] = self.random.randrange(1, 60)
            request = ("flow.add", {"flows": f"priority={priority},tcp,tp_dst=80,"
                                             f"actions=output:{self.flows[priority]}"})
        elif kind == "unflow" and self.flows:
            priority = self.random.choice(sorted(self.flows))
            del self.flows[priority]
            request = ("flow.del", {"flows": f"priority={priority},tcp,tp_dst=80", "strict": True})
        elif kind == "acl":
            name = f"s{self.random.randrange(5)}"
            self.sets[name] = self.random.randrange(1, 9)
            request = ("acl.set", {"name": name, "rules": "".join(
                f"from allow tcp,tp_dst={i}\n" for i in range(self.sets[name]))})
        elif kind == "unacl" and self.sets:
            name = self.random.choice(sorted(self.sets))
            del self.sets[name]
            request = ("acl.del", {"name": name})
        else:
            return True
        if client.call(request[0], **request[1]) is None:
            self.possible = [before, self.state()]
            return False
        self.possible = [self.state()]
        return True

    def found(self, shown):
        """The same of what the switch shows."""
        ports = {port["name"]: port.get("mtu", 1500) for port in shown.get("ports", [])}
        flows = {}
        for line in shown["flows"][0]["flows"]:
            if "tcp" in line:
                flows[int(line.split("priority=")[1].split(",")[0])] = int(
                    line.split("output:")[1])
        sets = {one["name"]: len(one["rules"]) for one in shown.get("acls", [])}
        return (ports, flows, sets)

    def settle(self, shown):
        found = self.found(shown)
        assert found in self.possible, (
            f"after SIGKILL there is {found}, where one of {self.possible} was acknowledged")
        self.ports, self.flows, self.sets = found
        self.possible = [found]


def kill_under_changes(lab, rounds, seed):
    switch = lab.switch(workers="0", persist=True)
    switch.ctl("bridge add br0")
    model = Model(seed)
    model.possible = [model.state()]
    changes = 0
    for number in range(rounds):
        client = Client(switch)
        killer = threading.Timer(model.random.uniform(0.005, 0.25), switch.kill)
        killer.start()
        while model.change(client, switch.folder):
            changes += 1
        client.close()
        killer.join()
        parts.wait_until(lambda: not switch.process.running, 10, "the end of straitd")
        switch.start()
        shown = document(switch)
        assert "missing" not in shown, (number, shown["missing"])
        model.settle(shown)
    print(f"{changes} changes in {rounds} lives, none lost")
    assert changes > rounds
    def few():
        files = sorted(path.name for path in (switch.run_dir / "config").iterdir())
        return files if len(files) <= 5 else None

    # Journals of lives before go once a checkpoint has all of them.
    assert parts.wait_until(few, 20, "journals that are not needed to be gone")


def test_sigkill_at_any_moment_loses_nothing_acknowledged(lab):
    kill_under_changes(lab, 10, 1)


@pytest.mark.soak
def test_five_hundred_sigkills_lose_nothing_acknowledged(lab):
    kill_under_changes(lab, 500, 2)


@contextlib.contextmanager
def small_disk(mebibytes):
    """A file system of its own, so small."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tempfile.mkdtemp(prefix="strait-disk-")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder],
                          capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(folder)
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    try:
        yield pathlib.Path(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        shutil.rmtree(folder)


def test_a_full_disk_refuses_changes_before_they_are_done(lab):
    with small_disk(24) as disk:
        switch = lab.switch(workers="0", state_dir=disk / "store")
        switch.ctl("bridge add br0")
        before = document(switch)
        switch.kill()
        # All that is left, so that no journal can be begun.
        with open(disk / "fill", "wb") as file:
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 65536)
                    file.flush()
        switch.start()
        assert document(switch) == before, "it starts nevertheless, and has what is kept"
        for words in ("bridge add br1", "bridge set br0 --mac-ageing 5", "bridge del br0"):
            with pytest.raises(Refused) as refused:
                switch.ctl(words)
            assert refused.value.status == 1
            assert "this is not done, as it could not be kept" in refused.value.sentence
            assert "No space left on device" in refused.value.sentence
        with pytest.raises(Refused):
            switch.ctl("flow", "add", "tcp,actions=drop")
        assert document(switch) == before
        (disk / "fill").unlink()
        switch.ctl("bridge add br1")
        switch.kill()
        switch.start()
        assert [b["name"] for b in document(switch)["bridges"]] == ["br0", "br1"]
        switch.stop()


def straitd(*words):
    return subprocess.run([binaries() / "straitd", *map(str, words)], capture_output=True,
                          text=True, timeout=60)


def stopped_store(lab):
    switch = lab.switch(workers="0", persist=True)
    switch.ctl("bridge add br0")
    switch.ctl("bridge add br1")
    switch.stop()
    return switch, switch.run_dir / "config"


def refusal(switch):
    done = straitd("--run-dir", switch.run_dir, "--no-huge", "--workers", "0")
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def journals(store):
    return sorted(path for path in store.iterdir() if path.name.startswith("journal-"))


def test_a_newer_store_is_refused_in_a_sentence(lab):
    switch, store = stopped_store(lab)
    path = journals(store)[-1]
    text = path.read_bytes()
    path.write_bytes(text.replace(b"strait-store 1 ", b"strait-store 7 ", 1))
    said = refusal(switch)
    assert (f"the configuration in {path} was kept by a newer straitd: its format is 7, and this "
            "one reads 1; start the newer one, or give another folder with --state-dir") in said
    path.write_bytes(text)
    switch.start()
    assert len(document(switch)["bridges"]) == 2


def test_a_damaged_store_is_refused_in_a_sentence(lab):
    switch, store = stopped_store(lab)
    path = journals(store)[-1]
    text = bytearray(path.read_bytes())
    at = text.index(b"br0")
    text[at] ^= 1
    path.write_bytes(text)
    said = refusal(switch)
    assert f"the kept configuration is damaged: {path}, byte " in said
    # It can be left alone.
    other = lab.switch(workers="0")
    assert "bridges" not in document(other)


def test_what_was_cut_off_while_it_was_written_is_left_out(lab):
    switch, store = stopped_store(lab)
    path = journals(store)[-1]
    whole = path.read_bytes().rstrip(b"\0")
    path.write_bytes(whole[:-4])
    switch.start()
    assert [b["name"] for b in document(switch)["bridges"]] == ["br0"]
    assert "was cut off while it was written, and left out" in switch.log()


def test_two_daemons_do_not_share_a_store(lab):
    first = lab.switch(workers="0", persist=True)
    done = straitd("--run-dir", first.folder / "other", "--no-huge", "--workers", "0",
                   "--state-dir", first.run_dir / "config")
    assert done.returncode == 1
    assert (f"another straitd keeps its configuration in {first.run_dir}/config; give this one a "
            "folder of its own with --state-dir") in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("words, says", [
    (["--state-dir", "/tmp/x", "--no-persist"], "--state-dir is given with --no-persist"),
    (["--state-dir", "/tmp/x", "--config", "/dev/null"], "--state-dir is given with --config"),
    (["--state-dir", "/proc/strait"], "the folder /proc/strait, where the configuration is kept"),
])
def test_contradicting_options_are_refused(tmp_path, words, says):
    done = straitd("--run-dir", tmp_path / "run", "--no-huge", "--workers", "0", *words)
    assert done.returncode == 1
    assert says in done.stderr.splitlines()[-1]


def test_what_cannot_be_restored_is_shown_and_comes_back(lab):
    switch = lab.switch(workers="0", persist=True)
    switch.ctl("bridge add br0")
    folder = switch.folder / "sockets"
    folder.mkdir()
    switch.ctl("port", "add", "vm1", "--bridge", "br0", "--type", "vhost-user", "--socket",
               folder / "vm1.sock")
    switch.ctl("port", "add", "vm2", "--bridge", "br0", "--type", "vhost-user", "--socket",
               switch.folder / "vm2.sock")
    switch.ctl("binding add vm1 02:00:00:00:00:02 10.0.0.5")
    before = document(switch)
    switch.stop()
    folder.rmdir()
    switch.start()
    shown = document(switch)
    assert [m["what"] for m in shown["missing"]] == [
        "binding vm1 02:00:00:00:00:02", "port vm1"]
    assert "does not exist" in shown["missing"][1]["why"]
    assert [p["name"] for p in switch.ctl("port list")] == ["vm2"]
    assert "port vm1 is configured, but is not there" in switch.log()
    folder.mkdir()
    parts.wait_until(lambda: document(switch) == before, 20, "the port being there again")
    assert switch.ctl("binding list")[0]["address"] == "10.0.0.5"


def test_documents_are_saved_compared_and_applied(kept, tmp_path):
    fill(kept)
    file = tmp_path / "saved.json"
    assert kept.text("config", "save", file) == (0, "", "")
    assert json.loads(file.read_text()) == document(kept)
    assert kept.text("config", "diff", file) == (0, "nothing differs\n", "")
    assert kept.text("config show")[1] == file.read_text()
    kept.ctl("port set vm1 --vlan 11")
    kept.ctl("port del vm2")
    kept.ctl("flow", "add", "udp,actions=drop", "--bridge", "br0")
    status, said, _ = kept.text("config", "diff", file)
    assert status == 0
    assert "~ port vm1: vlan 11 -> 10\n" in said
    assert "+ port vm2 {" in said
    assert "flows of bridge br0:\n  - udp actions=drop\n" in said
    worker = kept.ctl("port show vm1")
    status, applied, _ = kept.text("config", "apply", file)
    assert (status, applied) == (0, said)
    assert kept.text("config", "diff", file) == (0, "nothing differs\n", "")
    assert kept.ctl("port show vm1")["queues"] == worker["queues"]
    # And it is kept, like any other change.
    kept.kill()
    kept.start()
    assert kept.text("config", "diff", file) == (0, "nothing differs\n", "")


@pytest.mark.parametrize("change, says", [
    (lambda text: text[:-20], ": this is not JSON: "),
    (lambda text: text.replace('"vlan": 10', '"vlan": 4095'),
     ': "vlan" is 4095; it must be an integer from 1 to 4094'),
    (lambda text: text.replace('"names": "web"', '"names": "wbe"'), ": there is no rule set wbe"),
    (lambda text: text.replace("group:1", "group:4"), ": there is no group 4"),
    (lambda text: text.replace("vm2.sock", "no/such/folder/vm2.sock"),
     "does not exist; nothing is changed"),
    (lambda text: text.replace('"bridges"', '"bridgs"'), "did you mean bridges?"),
])
def test_a_refused_document_names_its_line_and_changes_nothing(kept, tmp_path, change, says):
    fill(kept)
    before = document(kept)
    file = tmp_path / "bad.json"
    kept.text("config", "save", file)
    text = file.read_text()
    file.write_text(change(text))
    assert file.read_text() != text
    status, _, said = kept.text("config", "apply", file)
    assert status == 1
    assert said.startswith(f"straitctl: {file}:") and says in said, said
    assert said.split(":")[2].isdigit()
    assert document(kept) == before


def test_a_file_that_is_not_there_is_refused(kept):
    status, _, said = kept.text("config", "apply", "nonexistent.json")
    assert (status, said) == (1, "straitctl: config apply: there is no file nonexistent.json\n")


def test_many_rules_are_kept_and_single_changes_are_quick(lab, tmp_path):
    """What is loaded at once is kept at once; one rule of many is one short record."""
    count = 20_000
    switch = lab.switch(workers="0", persist=True)
    switch.ctl("bridge add br0")
    rules = tmp_path / "rules"
    rules.write_text("".join(
        f"priority={i % 1000 + 1},ip,nw_dst=10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255},"
        f"actions=drop\n" for i in range(count)))
    switch.ctl("flow", "replace", rules)
    client = Client(switch)
    begin = time.monotonic()
    for i in range(300):
        client.call("flow.add", flows=f"priority=2000,tcp,tp_dst={i},actions=drop")
    seconds = time.monotonic() - begin
    client.close()
    print(f"{seconds / 300 * 1e6:.0f} us a rule beside {count}")
    assert seconds < 30
    written = sum(path.stat().st_size for path in (switch.run_dir / "config").iterdir())
    assert written < 64 << 20
    switch.kill()
    switch.start()
    assert switch.ctl("flow list --limit 1")["total"] == count + 300


def test_a_renamed_port_is_kept_with_all_that_names_it(kept):
    """Whenever the daemon is killed, the port is there under one name with everything of it."""
    fill(kept)
    assert '"vm1"' in json.dumps(document(kept))
    assert kept.ctl("port rename vm1 db1")["number"] == 9
    renamed = document(kept)
    assert '"vm1"' not in json.dumps(renamed)
    for kind in ("macs", "bindings"):
        assert [r["port"] for r in renamed[kind]] == ["db1"], kind
    assert "in_port=db1" in kept.text("flow list --bridge br0 --names")[1]
    kept.kill()
    kept.start()
    assert document(kept) == renamed
    for words, says in (("port rename db1 vm2", "port vm2 exists already"),
                        ("port rename db1 br1", "a bridge's name"),
                        ("port rename nosuch x", "there is no port nosuch"),
                        ("port rename br1 x", "is the bridge's own")):
        with pytest.raises(Refused) as refusal:
            kept.ctl(words)
        assert says in str(refusal.value), words
    assert document(kept) == renamed
