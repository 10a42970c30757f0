# SPDX-License-Identifier: BSD-3-Clause
"""The few values that random frames and random flows share, so that they meet often."""

import ipaddress


def _macs(*texts):
    return [int(text.replace(":", ""), 16) for text in texts]


def _addresses(*texts):
    return [int(ipaddress.ip_address(text)) for text in texts]


PORTS = [1, 2, 3, 4, 5]
MACS = _macs("02:11:22:33:44:55", "02:11:22:33:44:54", "06:aa:bb:cc:dd:ee", "02:00:00:00:00:01",
             "01:00:5e:00:00:01", "33:33:00:00:00:01", "ff:ff:ff:ff:ff:ff")
STATION_MACS = [mac for mac in MACS if not mac >> 40 & 1]
VLANS = [0, 1, 5, 100, 101, 4094, 4095]
ETHERTYPES = [0x0800, 0x0806, 0x86dd, 0x88b5, 0x9000, 0x0600]
IPV4 = _addresses("10.0.0.1", "10.0.0.2", "10.0.1.1", "10.128.0.1", "192.168.1.1",
                  "192.168.1.129", "224.0.0.1", "255.255.255.255")
IPV6 = _addresses("2001:db8::1", "2001:db8::2", "2001:db8:1::1", "2001:db8::ff00:0:1", "fe80::1",
                  "fe80::11:22ff:fe33:4455", "ff02::1", "ff02::1:ff00:1")
LABELS = [0, 1, 0x12345, 0xfffff]
TOS = [0, 0x10, 0xb8, 0xb9, 3, 0xff]
TTLS = [0, 1, 2, 64, 255]
TRANSPORT = [0, 53, 80, 81, 443, 1024, 8080, 0x8000, 0x8001, 65535]
TCP_FLAGS = [0x002, 0x012, 0x010, 0x018, 0x011, 0x004, 0x014, 0x000, 0x0c2, 0x1ff, 0x029]
ICMP = [(8, 0), (0, 0), (3, 1), (3, 4), (11, 0), (13, 0)]
ICMPV6 = [(128, 0), (129, 0), (1, 4), (2, 0), (3, 0), (133, 0), (143, 0)]
ARP_OPERATIONS = [1, 2, 3, 9]
# Numbers of ports among them: registers name ports, too.
REGISTERS = [0, 1, 2, 3, 4, 5, 6, 0xffff, 0x80000001, 0xabcd0001, 0xffffffff]
