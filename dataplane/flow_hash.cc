// SPDX-License-Identifier: BSD-3-Clause
// The hash is CRC-32C.
#include "dataplane/flow_hash.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <rte_hash_crc.h>

namespace strait::dataplane {

std::optional<ip_tuple> find_ip_tuple(const packet& p) noexcept
{
    std::size_t at = ethernet_header; // no shorter frame is forwarded
    std::uint16_t type = load<be16>(p.data + at - 2);
    while ((type == ethertype_vlan || type == ethertype_qinq) && at + tag_length <= p.head_length) {
        at += tag_length;
        type = load<be16>(p.data + at - 2);
    }
    ip_tuple t;
    std::uint8_t protocol = 0;
    const auto add = [&](std::size_t first, std::size_t count) noexcept {
        for (std::size_t i = 0; i < count; ++i) {
            t.words[t.addresses++] = load<be32>(p.data + first + i * sizeof(std::uint32_t));
        }
    };
    if (type == ethertype_ipv4 && at + min_ipv4_header <= p.head_length) {
        const auto first = load<std::uint8_t>(p.data + at);
        const std::size_t length = (first & 0xfU) * 4U;
        const std::uint16_t fragment = load<be16>(p.data + at + 6);
        if (first >> 4U != 4 || length < min_ipv4_header) {
            return std::nullopt;
        }
        // All fragments of a datagram go one way: only the first has ports.
        if ((fragment & 0x3fffU) == 0) {
            protocol = load<std::uint8_t>(p.data + at + 9);
        }
        add(at + 12, 2);
        at += length;
    } else if (type == ethertype_ipv6 && at + ipv6_header <= p.head_length) {
        t.ipv6 = true;
        protocol = load<std::uint8_t>(p.data + at + 6);
        add(at + 8, 8);
        at += ipv6_header;
    } else {
        return std::nullopt;
    }
    t.tcp = protocol == protocol_tcp;
    if ((t.tcp || protocol == protocol_udp) && at + sizeof(std::uint32_t) <= p.head_length) {
        t.words[t.addresses] = load<be32>(p.data + at);
        t.ports = true;
    }
    return t;
}

std::uint32_t flow_hash(const packet& p) noexcept
{
    const auto t = find_ip_tuple(p);
    if (!t) {
        const auto e = parse_ethernet(p.data);
        return rte_hash_crc_8byte(e.source.value(),
                                  rte_hash_crc_8byte(e.destination.value(), e.type));
    }
    return rte_hash_crc(t->words.data(),
                        (t->addresses + (t->ports ? 1U : 0U)) * sizeof(std::uint32_t), 0);
}

} // namespace strait::dataplane
