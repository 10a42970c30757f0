#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of flow_text_fuzz: some of the flows that the unit tests read, and what
they have not. Usage: flow_text_seeds.py [FOLDER]; the input's form is in the target."""

import pathlib

import corpus

_HERE = pathlib.Path(__file__).parent
_FLOWS = _HERE.parent / "unit/control/flows"
_EVERY = 7
ADD, MODIFY, MODIFY_STRICT, REMOVE, REMOVE_STRICT, LIST, GROUP, _, _, _, INSERT, TAKE, METER, \
    _, _, OPTION, NO_OPTION = range(17)

_OTHERS = [
    (ADD, "tcp,tp_src=1000-1999,tp_dst=1-65534,actions=drop"),
    (ADD, 'in_port=vm1,actions="a,b \\"c\\" (d",vm1,resubmit(vm1,3)'),
    (ADD, "inner_dl_vlan=5,inner_dl_vlan_pcp=3,packet_length=64-127,actions=push_vlan:0x88a8"),
    (ADD, "actions=" + "clone(" * 17 + ")" * 17),
    (ADD, "tcp,actions=ct(commit,zone=reg0[0..15],force,nat(src=10.0.0.1-10.0.0.9:1-9,hash),"
          "exec(set_field:0x5/0x5->ct_label),alg=ftp),meter:1"),
    (ADD, "arp,actions=move:NXM_OF_ARP_OP[]->reg0[0..15],move:reg1[0..15]->NXM_OF_ARP_OP[]"),
    (ADD, "ip,actions=move:NXM_OF_IP_TOS[]->reg0[0..7],set_field:1.2.3.4/24->ip_src"),
    (ADD, "cookie=0,table=255,actions=drop"),
    (MODIFY, "cookie=1/-1,cookie=2,tcp6,actions=2"),
    (REMOVE_STRICT, "priority=5,cookie=0x5/0xff,out_port=vm1,out_group=3,table=4,ip"),
    (LIST, "modify ip,actions=1\n# nothing\n\ndelete_strict tcp\r\n"),
    (LIST, "tcp,nw_src=10.0.0.1,tp_dst=80,tcp_flags=syn|ack,dl_vlan=5,inner_dl_vlan=6"),
    (LIST, "icmp6,icmp_type=135,nd_target=fe80::1,nd_sll=00:00:00:00:00:01,nw_frag=no"),
    (LIST, "sctp6,nw_frag=first,packet_length=1500,ct_state=+trk+est,tun_id=5,xxreg1=7"),
    (LIST, "arp,arp_spa=10.0.0.1,metadata=3,in_port=LOCAL"),
    (GROUP, "group_id=1,type=select,selection_method=hash,selection_method_param=7,"
            "fields(ip_src=255.0.0.0,tcp_src,reg0=0xff,vlan_vid,tcp_flags=0x2,eth_dst),"
            "bucket=weight:10,bucket_id:5,watch_port:vm1,actions=output:1,bucket=watch_group=9,2"),
    (GROUP, 'group_id=0xffffff00 type=ff,bucket=watch_port:"a,b \\"c\\" (d",set_field:5->reg0,'
            "weight:1,group:3,bucket=watch_group:1,bucket_id:4294967040,drop"),
    (INSERT, "group_id=1,command_bucket_id=last,bucket=bucket_id:4,resubmit(,3)"),
    (TAKE, "group_id=1,command_bucket_id=all"),
    (METER, "meter=1,pktps,burst,stats,bands=type=drop,rate=10,burst_size=5,type=drop,rate=9"),
    (ADD, "tun_metadata0=5/0xf,tun_metadata1,"
          "tun_metadata4=0x102030405060708090a0b0c0d0e0f1011121314,"
          "actions=set_field:0x123456789abcdef01234/0xffffffffffffffff0fff->tun_metadata4,"
          "delete_field:tun_metadata1,load:3->tun_metadata4[60..70],"
          "move:tun_metadata4[0..99]->tun_metadata4[60..159],push:NXM_NX_TUN_METADATA0[]"),
    (LIST, "tun_metadata0,tun_metadata4[60..70]=5,tun_metadata1=0x1122334455667788"),
    (OPTION, "{class=0x102,type=0x80,len=4}->tun_metadata0,"
             "{type=1,len=124,class=65535}->tun_metadata63"),
    (NO_OPTION, "tun_metadata3 {class=1,type=2,len=8}->tun_metadata4"),
    (ADD, "ip,actions=dec_ttl(icmp=10.0.0.1),clone(dec_ttl(),dec_ttl(icmp=)),1"),
    (LIST, "tcp6,actions=dec_ttl(icmp=fd00::1),2\nudp6,actions=dec_ttl(icmp=ff02::1),2"),
]


def seeds():
    lines = [line for path in sorted(_FLOWS.glob("*.txt"))
             for line in path.read_text(encoding="ascii").splitlines()
             if not line.startswith("#")]
    for number, (command, text) in enumerate([(ADD, line) for line in lines[::_EVERY]] + _OTHERS):
        yield f"{number:03}", bytes((command,)) + text.encode("ascii")


if __name__ == "__main__":
    corpus.write(__file__, seeds())
