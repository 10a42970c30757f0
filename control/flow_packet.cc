// SPDX-License-Identifier: BSD-3-Clause
// Packets as words and back.
#include "control/flow_packet.hh"

#include "control/flow_fields.hh"
#include "control/flow_frame.hh"
#include "control/flow_match_text.hh"
#include "control/flow_options.hh"
#include "control/flow_words.hh"

#include <algorithm>
#include <array>

namespace strait::control {

using flow::field;
using flow::wide;

namespace {

constexpr std::uint64_t first_ethertype = 0x600;
constexpr std::uint64_t no_next_header = 59;

// Why there is no such packet.
std::optional<std::string> why_impossible(const flow::key& k)
{
    const std::uint64_t type = k.number(field::eth_type);
    constexpr std::array<std::uint64_t, 3> of_tags{0x8100, 0x88a8, 0x9100};
    if (type < first_ethertype && type != flow::no_ethertype) {
        return "dl_type must be 0x0600 at least, or 0x05ff for a frame that has a length there";
    }
    if (std::ranges::find(of_tags, type) != of_tags.end()) {
        return "a tag is said by dl_vlan, not by dl_type, which is what stands behind it";
    }
    if (k.number(field::vlan_tci) == 0 && k.number(field::inner_vlan_tci) != 0) {
        return "an inner tag stands behind another one; say dl_vlan too";
    }
    constexpr std::array<std::uint64_t, 6> before_protocols{0, 43, 44, 51, 60, 135};
    if (holds(prerequisite::ipv6, k) &&
        std::ranges::find(before_protocols, k.number(field::nw_proto)) != before_protocols.end()) {
        return "nw_proto must be a protocol, not an extension header of IPv6";
    }
    return std::nullopt;
}

void set_defaults(flow::key& k, const match_reader& said)
{
    if (!said.has(field::eth_type)) {
        k.set(field::eth_type, wide{flow::no_ethertype});
    }
    const bool is_ip = holds(prerequisite::ip, k);
    if (!said.has(field::nw_proto)) {
        const std::uint64_t value = is_ip ? no_next_header : holds(prerequisite::arp, k) ? 1 : 0;
        k.set(field::nw_proto, wide{value});
    }
    if (is_ip && !said.has(field::nw_ttl)) {
        constexpr std::uint64_t usual = 64;
        constexpr std::uint64_t of_neighbours = 255;
        k.set(field::nw_ttl, wide{holds(prerequisite::neighbour, k) ? of_neighbours : usual});
    }
}

void put_options(const flow::key& k, const flow::option_map& known, flow::match& m)
{
    for (const flow::option& o : known.all()) {
        if ((k.get(field::tun_present) & o.present_bit()).is_zero()) {
            continue;
        }
        m.require(field::tun_present, o.present_bit(), o.present_bit());
        for (std::size_t i = 0; i < o.word_count(); ++i) {
            m.require(o.field_at(i), k.get(o.field_at(i)), wide::ones(o.bits_at(i)));
        }
    }
}

// All that a match with just this packet would have.
flow::match exact_match(const flow::key& k, const port_names* names)
{
    flow::match m;
    const auto put = [&m, &k](field f) { m.require(f, k.get(f)); };
    const auto put_unless_zero = [&](field f) {
        if (!k.get(f).is_zero()) {
            put(f);
        }
    };
    for (auto f = field::in_port; f <= field::tun_gbp_flags;
         f = static_cast<field>(static_cast<unsigned>(f) + 1)) {
        const bool is_wide_register = f >= field::xreg0 && f <= field::xxreg3;
        if (!is_wide_register) { // these are the registers once more
            put_unless_zero(f);
        }
    }
    for (const auto f : {field::eth_src, field::eth_dst, field::eth_type, field::packet_length}) {
        put(f);
    }
    if (names != nullptr && names->options() != nullptr) {
        put_options(k, names->options()->map(), m);
    }
    if (holds(prerequisite::ip, k) || holds(prerequisite::arp, k)) {
        put(field::nw_proto);
    }
    if (holds(prerequisite::ip, k)) {
        put(field::nw_ttl);
    }
    if (holds(prerequisite::ipv4_or_arp, k)) {
        put(field::nw_src);
        put(field::nw_dst);
    }
    if (holds(prerequisite::ipv6, k)) {
        put(field::ipv6_src);
        put(field::ipv6_dst);
    }
    if (holds(prerequisite::ports_or_icmp, k)) {
        put(field::tp_src);
        put(field::tp_dst);
    }
    if (holds(prerequisite::neighbour, k)) {
        put(field::nd_target);
    }
    return m;
}

} // namespace

ports::result<flow::key> parse_packet(std::string_view words, const port_names& names)
{
    match_reader reader{names};
    if (const auto read = read_match(words, reader); read.has_error()) {
        return ports::error{at_column(words, read.error())};
    }
    auto key = reader.packet();
    if (key.has_error()) {
        return ports::error{at_column(words, key.error())};
    }
    set_defaults(*key, reader);
    if (auto why = why_impossible(*key)) {
        return ports::error{"there is no such packet: " + *why};
    }
    const std::size_t least = header_bytes(*key);
    const std::size_t most = longest_frame(*key);
    if (!reader.has(field::packet_length)) {
        key->set(field::packet_length, wide{std::max(least, shortest_frame)});
    }
    const std::uint64_t length = key->number(field::packet_length);
    if (length < least || length > most) {
        return ports::error{"there is no such packet: packet_length is " + std::to_string(length) +
                            "; with these headers it must be from " + std::to_string(least) +
                            " to " + std::to_string(most)};
    }
    return *key;
}

std::string format_key(const flow::key& k, const port_names* names)
{
    std::string out;
    append_match(out, exact_match(k, names), names);
    if (out.ends_with(',')) {
        out.pop_back();
    }
    return out;
}

} // namespace strait::control
