# SPDX-License-Identifier: BSD-3-Clause
"""HTTP and iperf3 between two Linux guests in QEMU, through stateful rules that translate the
client's address: the guests' own drivers, whose checksums and segments are left to the switch."""

import json

import pytest

import lab as parts

CLIENT, SERVER, SEEN_AS = "10.0.0.1", "10.0.0.2", "10.0.0.100"
CLIENT_MAC, SERVER_MAC = "52:54:00:00:00:01", "52:54:00:00:00:02"
BOOT_S = 240
PAGE = 300_000  # bytes

RULES = f"""
table=0,priority=9,arp,actions=NORMAL
table=0,priority=5,in_port=client,ip,actions=ct(commit,nat(src={SEEN_AS}),table=1)
table=0,priority=5,in_port=server,ip,actions=ct(nat,table=2)
table=1,priority=5,ip,ct_state=+trk-inv,actions=output:server
table=2,priority=5,ip,ct_state=+trk+est,actions=output:client
table=2,priority=5,ip,ct_state=+trk+rel,actions=output:client
"""


class Pair:
    """A client and a server, and a switch between them."""

    def __init__(self, lab, folder):
        self.switch = lab.switch(workers="1")
        self.ctl = self.switch.ctl
        self.ctl("bridge add br0")
        try:
            initrd = parts.assets().tools_initrd
        except parts.Unavailable as reason:
            pytest.skip(str(reason))
        guests = [lab.guest(parts.Nic(self.switch.add_vhost(name), mac), address, wait=False,
                            boot_timeout=BOOT_S, initrd=initrd)
                  for name, mac, address in (("client", CLIENT_MAC, CLIENT),
                                             ("server", SERVER_MAC, SERVER))]
        for guest in guests:
            guest.wait_up()
        self.client, self.server = guests
        # Nobody has that address: its neighbour is told where it is.
        self.server.sh(f"arp -i eth0 -s {SEEN_AS} {CLIENT_MAC}")
        rules = folder / "rules"
        rules.write_text(RULES, encoding="ascii")
        self.ctl("flow", "replace", rules)

    def connections(self, port):
        return self.ctl("ct", "list", f"tcp,tp_dst={port}")["connections"]


@pytest.fixture(scope="module")
def pair(module_lab, tmp_path_factory):
    return Pair(module_lab, tmp_path_factory.mktemp("nat"))


def test_a_page_comes_whole(pair):
    pair.server.sh(f"mkdir -p /tmp/www && head -c {PAGE} /dev/urandom > /tmp/www/page && "
                   "httpd -p 80 -h /tmp/www")
    wanted = pair.server.sh("md5sum < /tmp/www/page")
    pair.client.sh(f"{parts.TOOLS}/curl -sS -m 40 -o /tmp/page http://{SERVER}/page", timeout=60)
    assert pair.client.sh("md5sum < /tmp/page") == wanted
    (one,) = pair.connections(80)
    assert (one["original"]["source"], one["reply"]["destination"]) == (CLIENT, SEEN_AS)
    assert one["replied"] and one["assured"]


@pytest.mark.parametrize("reverse", (False, True), ids=("up", "down"))
def test_iperf3_runs(pair, reverse):
    pair.server.sh(f"{parts.TOOLS}/iperf3 -s -D -1 -p 5201 && sleep 1")
    said = pair.client.sh(f"{parts.TOOLS}/iperf3 -c {SERVER} -p 5201 -t 3 -J "
                          f"{'-R' if reverse else ''}", timeout=60)
    result = json.loads(said)
    assert "error" not in result
    assert result["start"]["connected"][0]["remote_host"] == SERVER
    assert result["end"]["sum_received"]["bytes"] > 1_000_000
    assert all(c["reply"]["destination"] == SEEN_AS for c in pair.connections(5201))


def test_the_server_sees_the_other_address_and_may_not_begin(pair):
    pair.server.sh("(nc -l -p 7 -e sh -c 'netstat -tn | grep :7' > /dev/null 2>&1 &) ; sleep 1")
    seen = pair.client.sh(f"nc -w 10 {SERVER} 7 < /dev/null", timeout=30)
    assert SEEN_AS in seen and CLIENT not in seen.replace(SEEN_AS, "")
    assert pair.server.ping(SEEN_AS, count=1).received == 0
    assert pair.client.ping(SERVER, count=2).received == 2
