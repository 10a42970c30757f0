# SPDX-License-Identifier: BSD-3-Clause
"""FTP between the stacks of two namespaces: a client of Python's library and pyftpdlib's server,
neither of which knows of the translation between them. Whatever is not FTP's control connection
passes only if that announced it."""

import subprocess

import pytest

import lab as parts

INSIDE, OUTSIDE, SEEN_AS = "10.9.0.1", "10.9.0.2", "10.9.0.200"
INSIDE6, OUTSIDE6, SEEN_AS6 = "fd09::1", "fd09::2", "fd09::200:200"
FLOWS = """
table=0,priority=9,arp,actions=NORMAL
table=0,priority=9,icmp6,actions=NORMAL
table=0,priority=5,{tcp},actions=ct(nat,table=1)
table=1,priority=9,{tcp},ct_state=+trk+est,actions=resubmit(,2)
table=1,priority=8,{tcp},ct_state=+trk+new+rel,actions=ct(commit,nat,table=2)
table=1,priority=7,in_port={client},{tcp},ct_state=+trk+new-rel,tp_dst=21,\
actions=ct(commit,alg=ftp,nat({which}={address}),table=2)
table=2,priority=5,in_port=h1,actions=output:h2
table=2,priority=5,in_port=h2,actions=output:h1
"""
SERVER = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
users = DummyAuthorizer()
users.add_user("u", "p", sys.argv[2], perm="elradfmw")
FTPHandler.authorizer = users
FTPHandler.passive_ports = range(40000, 40100)
server = FTPServer((sys.argv[1], 21), FTPHandler)
print("ready", flush=True)
server.serve_forever()
"""
CLIENT = """
import ftplib, io, sys
host, passive, extended = sys.argv[1], sys.argv[2] == "passive", sys.argv[3] == "extended"
class Client(ftplib.FTP):
    trust_server_pasv_ipv4_address = True
    def makepasv(self):
        if not extended:
            return super().makepasv()
        return ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())
    def sendport(self, host, port):
        return self.sendeprt(host, port) if extended else super().sendport(host, port)
ftp = Client(host, "u", "p", timeout=10)
ftp.set_pasv(passive)
for turn in range(3):
    sent = bytes([turn]) * 100_000
    ftp.storbinary(f"STOR file{turn}", io.BytesIO(sent))
    got = io.BytesIO()
    ftp.retrbinary(f"RETR file{turn}", got.write)
    assert got.getvalue() == sent
assert sorted(ftp.nlst()) == ["file0", "file1", "file2"]
assert ftp.quit().startswith("221")
print("done")
"""


class Hosts:
    """A switch between two namespaces, each with a stack of both families."""

    def __init__(self, lab, folder):
        self.folder = folder
        self.netns = lab.netns()
        self.switch = lab.switch(netns=self.netns)
        self.ctl = self.switch.ctl
        self.ctl("bridge", "add", "br0")
        self.hosts = []
        for number, address, address6 in ((1, INSIDE, INSIDE6), (2, OUTSIDE, OUTSIDE6)):
            self.switch.add_nic(f"h{number}", f"net_tap_h{number},iface=h{number}")
            host = parts.Netns()
            self.hosts.append(host)
            subprocess.run(["ip", "-n", self.netns.name, "link", "set", f"h{number}", "netns",
                            host.name], check=True)
            host.configure(f"h{number}", address)
            host.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=0 "
                    f"net.ipv6.conf.h{number}.disable_ipv6=0")
            host.sh(f"ip -6 addr add {address6}/64 dev h{number} nodad")
        self.inside, self.outside = self.hosts
        # Nobody has that address: its neighbour is told where it is.
        mac = self.inside.sh("cat /sys/class/net/h1/address").strip()
        for address in (SEEN_AS, SEEN_AS6):
            self.outside.sh(f"ip neigh replace {address} lladdr {mac} dev h2")

    def load(self, **words):
        self.ctl("ct", "flush")
        path = self.folder / "flows"
        path.write_text(FLOWS.format(**words), encoding="ascii")
        self.ctl("flow", "replace", path)

    def close(self):
        for host in self.hosts:
            host.close()


@pytest.fixture(scope="module")
def hosts(module_lab, tmp_path_factory):
    pytest.importorskip("pyftpdlib", reason="skipped: python3-pyftpdlib is not installed")
    made = Hosts(module_lab, tmp_path_factory.mktemp("ftp"))
    yield made
    made.close()


def transfer(server, listens, client, dialled, folder, *how):
    with subprocess.Popen(["ip", "netns", "exec", server.name, "/usr/bin/python3", "-c", SERVER,
                           listens, str(folder)], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as daemon:
        try:
            assert daemon.stdout.readline() == "ready\n"
            (folder.parent / "client.py").write_text(CLIENT, encoding="ascii")
            status, said = client.run(f"/usr/bin/python3 {folder.parent / 'client.py'} {dialled} "
                                      + " ".join(how), timeout=60)
            assert status == 0 and said.split()[-1:] == ["done"], said
        finally:
            daemon.kill()


def folder_of(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


# PORT and PASV are of IPv4 alone.
WAYS = pytest.mark.parametrize("way", (
    "active plain ipv4", "passive plain ipv4", "active extended ipv4", "passive extended ipv4",
    "active extended ipv6", "passive extended ipv6"), ids=lambda way: way.replace(" ", "-"))


@WAYS
def test_a_client_whose_address_is_translated(hosts, tmp_path, way):
    *how, family = way.split()
    ipv6 = family == "ipv6"
    hosts.load(tcp="tcp6" if ipv6 else "tcp", client="h1", which="src",
               address=f"[{SEEN_AS6}]" if ipv6 else SEEN_AS)
    there = OUTSIDE6 if ipv6 else OUTSIDE
    transfer(hosts.outside, there, hosts.inside, there, folder_of(tmp_path), *how)
    control = [c for c in hosts.ctl("ct", "list")["connections"] if not c["related"]]
    assert [c["reply"]["destination"] for c in control] == [SEEN_AS6 if ipv6 else SEEN_AS]


@WAYS
def test_a_server_at_another_address(hosts, tmp_path, way):
    *how, family = way.split()
    ipv6 = family == "ipv6"
    hosts.load(tcp="tcp6" if ipv6 else "tcp", client="h2", which="dst",
               address=f"[{INSIDE6}]" if ipv6 else INSIDE)
    transfer(hosts.inside, INSIDE6 if ipv6 else INSIDE, hosts.outside,
             SEEN_AS6 if ipv6 else SEEN_AS, folder_of(tmp_path), *how)
    related = [c for c in hosts.ctl("ct", "list")["connections"] if c["related"]]
    assert related and all(c["replied"] for c in related)


def test_without_the_helper_no_data_passes(hosts, tmp_path):
    hosts.load(tcp="tcp", client="h1", which="src", address=SEEN_AS)
    path = hosts.folder / "flows"
    path.write_text(path.read_text(encoding="ascii").replace("alg=ftp,", ""), encoding="ascii")
    hosts.ctl("ct", "flush")
    hosts.ctl("flow", "replace", path)
    with pytest.raises(AssertionError):
        transfer(hosts.outside, OUTSIDE, hosts.inside, OUTSIDE, folder_of(tmp_path), "active",
                 "plain")
