// SPDX-License-Identifier: BSD-3-Clause
// The fields that flows match and set, and where each lies in a flow's key (key.hh). What they are
// called, and which need others to be there, is text's business (control/flow_text.hh).
//
// What is told apart by other fields shares a place, as in Open vSwitch: addresses of ARP are
// IPv4's, ICMP's type and code are the transport's ports, link-layer addresses of neighbour
// discovery are ARP's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace strait::flow {

enum class field : std::uint8_t {
    in_port, // a port's number, or one of the reserved ones (action.hh)
    conj_id, // of the conjunction that was met
    eth_dst, // the first byte on the wire is the number's highest
    eth_src,
    eth_type,       // the frame's own behind its tags; 0x05ff: none (802.3)
    vlan_tci,       // PCP, 0x1000 for "there is a tag", VID; 0: no tag
    inner_vlan_tci, // of the tag behind it
    nw_proto,       // IP's protocol; ARP's operation
    nw_tos,         // DSCP and ECN
    nw_ttl,
    nw_frag, // frag_any, frag_later
    tcp_flags,
    nw_src, // ARP: spa
    nw_dst, // ARP: tpa
    ipv6_src,
    ipv6_dst,
    ipv6_label,
    tp_src,  // ICMP: type
    tp_dst,  // ICMP: code
    arp_sha, // neighbour discovery: nd_sll
    arp_tha, // neighbour discovery: nd_tll
    nd_target,
    packet_length, // of the whole frame, without FCS
    metadata,
    reg0,
    reg1,
    reg2,
    reg3,
    reg4,
    reg5,
    reg6,
    reg7,
    reg8,
    reg9,
    reg10,
    reg11,
    reg12,
    reg13,
    reg14,
    reg15,
    xreg0, // reg0 above reg1, and so on
    xreg1,
    xreg2,
    xreg3,
    xreg4,
    xreg5,
    xreg6,
    xreg7,
    xxreg0,
    xxreg1,
    xxreg2,
    xxreg3,
    pkt_mark,
    actset_output,
    ct_state, // ct_new and the others
    ct_zone,
    ct_mark,
    ct_label,
    ct_nw_proto, // of the connection's first packet, like what follows
    ct_nw_src,
    ct_nw_dst,
    ct_ipv6_src,
    ct_ipv6_dst,
    ct_tp_src,
    ct_tp_dst,
    tun_id,
    tun_src,
    tun_dst,
    tun_ipv6_src,
    tun_ipv6_dst,
    tun_flags,
    tun_tos,
    tun_ttl,
    tun_gbp_id,
    tun_gbp_flags,
    tun_present, // which options are there: of each the bit of its first word (option_map.hh)
    tun_data0,   // what options have, each in words of its own; 0 where it is not there
    tun_data1,
    tun_data2,
    tun_data3,
    tun_data4,
    tun_data5,
    tun_data6,
    tun_data7,
};
inline constexpr std::size_t field_count = static_cast<std::size_t>(field::tun_data7) + 1;

[[nodiscard]] constexpr bool is_option_data(field f) noexcept
{
    return f >= field::tun_data0 && f <= field::tun_data7;
}

// Bits of nw_frag.
inline constexpr std::uint8_t frag_any = 1;   // a fragment
inline constexpr std::uint8_t frag_later = 2; // and not the first: no ports
// The bit of a VLAN TCI that says that there is a tag.
inline constexpr std::uint16_t vlan_present = 0x1000;
// What eth_type is of a frame that has a length there.
inline constexpr std::uint16_t no_ethertype = 0x05ff;

// Bits [shift, shift + width) of a 64-bit word of the key. Of a 128-bit field `word` is the higher
// half, the next the lower.
struct field_place {
    std::uint8_t word;
    std::uint8_t shift;
    std::uint8_t width;
};

// Bytes of a key are a multiple of 64, which CPUs copy faster.
inline constexpr std::size_t key_words = 48;

namespace detail {

consteval std::array<field_place, field_count> make_places()
{
    std::array<field_place, field_count> out{};
    const auto put = [&out](field f, unsigned word, unsigned shift, unsigned width) {
        out[static_cast<std::size_t>(f)] = {static_cast<std::uint8_t>(word),
                                            static_cast<std::uint8_t>(shift),
                                            static_cast<std::uint8_t>(width)};
    };
    using enum field;
    put(in_port, 0, 0, 32);
    put(conj_id, 0, 32, 32);
    put(eth_dst, 1, 0, 48);
    put(eth_type, 1, 48, 16);
    put(eth_src, 2, 0, 48);
    put(vlan_tci, 2, 48, 16);
    put(inner_vlan_tci, 3, 0, 16);
    put(nw_proto, 3, 16, 8);
    put(nw_tos, 3, 24, 8);
    put(nw_ttl, 3, 32, 8);
    put(nw_frag, 3, 40, 8);
    put(tcp_flags, 3, 48, 16);
    put(nw_dst, 4, 0, 32);
    put(nw_src, 4, 32, 32);
    put(ipv6_src, 5, 0, 128);
    put(ipv6_dst, 7, 0, 128);
    put(tp_src, 9, 0, 16);
    put(tp_dst, 9, 16, 16);
    put(ipv6_label, 9, 32, 20);
    put(arp_sha, 10, 0, 48);
    put(packet_length, 10, 48, 16);
    put(arp_tha, 11, 0, 48);
    put(nd_target, 12, 0, 128);
    put(metadata, 14, 0, 64);
    constexpr unsigned first_register = 15;
    for (unsigned i = 0; i < 16; ++i) {
        put(static_cast<field>(static_cast<unsigned>(reg0) + i), first_register + i / 2,
            i % 2 == 0 ? 32 : 0, 32);
    }
    for (unsigned i = 0; i < 8; ++i) {
        put(static_cast<field>(static_cast<unsigned>(xreg0) + i), first_register + i, 0, 64);
    }
    for (unsigned i = 0; i < 4; ++i) {
        put(static_cast<field>(static_cast<unsigned>(xxreg0) + i), first_register + 2 * i, 0, 128);
    }
    put(ct_state, 23, 0, 32);
    put(ct_mark, 23, 32, 32);
    put(ct_zone, 24, 0, 16);
    put(ct_tp_src, 24, 16, 16);
    put(ct_tp_dst, 24, 32, 16);
    put(ct_nw_proto, 24, 48, 8);
    put(ct_label, 25, 0, 128);
    put(ct_nw_dst, 27, 0, 32);
    put(ct_nw_src, 27, 32, 32);
    put(ct_ipv6_src, 28, 0, 128);
    put(ct_ipv6_dst, 30, 0, 128);
    put(tun_id, 32, 0, 64);
    put(tun_dst, 33, 0, 32);
    put(tun_src, 33, 32, 32);
    put(tun_ipv6_src, 34, 0, 128);
    put(tun_ipv6_dst, 36, 0, 128);
    put(tun_flags, 38, 0, 16);
    put(tun_tos, 38, 16, 8);
    put(tun_ttl, 38, 24, 8);
    put(tun_gbp_id, 38, 32, 16);
    put(tun_gbp_flags, 38, 48, 8);
    put(pkt_mark, 39, 0, 32);
    put(actset_output, 39, 32, 32);
    put(tun_present, 38, 56, 8);
    for (unsigned i = 0; i < 8; ++i) {
        put(static_cast<field>(static_cast<unsigned>(tun_data0) + i), 40 + i, 0, 64);
    }
    return out;
}

inline constexpr std::array<field_place, field_count> places = make_places();

} // namespace detail

[[nodiscard]] constexpr field_place place_of(field f) noexcept
{
    return detail::places[static_cast<std::size_t>(f)];
}

// In bits, 1 to 128.
[[nodiscard]] constexpr unsigned width_of(field f) noexcept
{
    return place_of(f).width;
}

} // namespace strait::flow
