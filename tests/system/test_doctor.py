# SPDX-License-Identifier: BSD-3-Clause
"""straitctl doctor beside a real daemon, and without one."""

import json


def found(switch):
    status, out, _err = switch.text("--json", "doctor")
    return status, {(f["is"], f["about"]): f for f in json.loads(out)["findings"]}


def test_what_is_wrong_is_found_with_what_mends_it(lab):
    switch = lab.switch(workers="0")
    switch.ctl("bridge add br0")
    switch.add_nic("up0", "net_null0,no-rx=1")
    status, out, err = switch.text(
        "port", "add", "vm1", "--bridge", "br0", "--type", "vhost-user",
        "--socket", switch.socket("vm1"), "--mtu", "9000")
    assert (status, out) == (0, "") and err.count("\n") == 1
    assert err.startswith("straitctl: warning: on bridge br0 port vm1 sends packets of up to 9000 "
                          "bytes, and port up0 takes 1500")
    status, all_of = found(switch)
    assert status == 0 and ("good", "daemon") in all_of
    assert "nobody is connected" in all_of["advice", "port vm1"]["found"]
    assert all_of["advice", "MTU"]["mend"].startswith("straitctl port set up0 --mtu 9000")
    assert all_of["advice", "MTU"]["found"] in err and all_of["advice", "MTU"]["mend"] in err
    # As it says.
    assert len(switch.ctl("port set vm1 --mtu 9001")["warnings"]) == 1
    assert switch.ctl("port set vm1 --mtu 1500")["warnings"] == []
    assert ("advice", "MTU") not in found(switch)[1]
    text = switch.text("doctor")[1]
    assert "port vm1: nobody is connected" in text and "0 faults, " in text
    switch.stop()
    status, all_of = found(switch)
    assert status == 1 and "is straitd running" in all_of["fault", "daemon"]["found"]


def test_a_tunnels_mtu_is_told_before_packets_are_lost(lab):
    switch = lab.switch(workers="0")
    for bridge in ("under", "tenants"):
        switch.ctl("bridge", "add", bridge)
    switch.ctl("address add under 192.0.2.1/24")
    switch.ctl("port add vx --bridge tenants --type vxlan --remote 192.0.2.2 --key 7")
    told = found(switch)[1]["advice", "MTU"]
    assert "1450 fit" in told["found"]
    switch.ctl(told["mend"].split(",")[0].removeprefix("straitctl "))
    assert ("advice", "MTU") not in found(switch)[1]
