// SPDX-License-Identifier: BSD-3-Clause
// The table of fields, and finding one in it.
#include "control/flow_fields.hh"

#include "control/flow_options.hh"

#include <algorithm>
#include <array>
#include <charconv>
#include <deque>
#include <unordered_map>
#include <vector>

namespace strait::control {

using flow::field;
using flow::wide;

namespace {

using enum value_form;
using p = prerequisite;

// Of what has several names or parts in the key's same field, actions are written with the first
// that fits. Without a width, text has the bits that the key has.
std::vector<flow_field> named_fields()
{
    return {
        {.name = "in_port",
         .nxm = "NXM_OF_IN_PORT",
         .of = field::in_port,
         .width = 16,
         .bits = 16,
         .form = port,
         .maskable = false,
         .fills = true},
        {.name = "in_port_oxm",
         .oxm = "OXM_OF_IN_PORT",
         .of = field::in_port,
         .width = 32,
         .bits = 16,
         .form = port_32,
         .maskable = false,
         .fills = true},
        {.name = "conj_id",
         .nxm = "NXM_NX_CONJ_ID",
         .of = field::conj_id,
         .form = decimal,
         .maskable = false,
         .writable = false},
        {.name = "eth_dst",
         .alias = "dl_dst",
         .nxm = "NXM_OF_ETH_DST",
         .oxm = "OXM_OF_ETH_DST",
         .of = field::eth_dst,
         .form = ethernet},
        {.name = "eth_src",
         .alias = "dl_src",
         .nxm = "NXM_OF_ETH_SRC",
         .oxm = "OXM_OF_ETH_SRC",
         .of = field::eth_src,
         .form = ethernet},
        {.name = "eth_type",
         .alias = "dl_type",
         .nxm = "NXM_OF_ETH_TYPE",
         .oxm = "OXM_OF_ETH_TYPE",
         .of = field::eth_type,
         .maskable = false,
         .writable = false},
        {.name = "vlan_tci", .nxm = "NXM_OF_VLAN_TCI", .of = field::vlan_tci},
        {.name = "vlan_vid",
         .oxm = "OXM_OF_VLAN_VID",
         .of = field::vlan_tci,
         .width = 12,
         .bits = 12,
         .form = decimal,
         .needs = p::tagged,
         .match_needs = p::none},
        {.name = "vlan_pcp",
         .oxm = "OXM_OF_VLAN_PCP",
         .of = field::vlan_tci,
         .width = 3,
         .bits = 3,
         .first = 13,
         .form = decimal,
         .needs = p::tagged,
         .match_needs = p::none,
         .maskable = false},
        {.name = "dl_vlan",
         .of = field::vlan_tci,
         .width = 12,
         .bits = 12,
         .form = decimal,
         .maskable = false,
         .writable = false,
         .instead = "vlan_vid"},
        {.name = "dl_vlan_pcp",
         .of = field::vlan_tci,
         .width = 3,
         .bits = 3,
         .first = 13,
         .form = decimal,
         .maskable = false,
         .writable = false,
         .instead = "vlan_pcp"},
        {.name = "inner_vlan_tci", .of = field::inner_vlan_tci},
        {.name = "inner_dl_vlan",
         .of = field::inner_vlan_tci,
         .width = 12,
         .bits = 12,
         .form = decimal,
         .maskable = false,
         .writable = false,
         .instead = "inner_vlan_tci[0..11]"},
        {.name = "inner_dl_vlan_pcp",
         .of = field::inner_vlan_tci,
         .width = 3,
         .bits = 3,
         .first = 13,
         .form = decimal,
         .maskable = false,
         .writable = false,
         .instead = "inner_vlan_tci[13..15]"},
        {.name = "nw_proto",
         .alias = "ip_proto",
         .nxm = "NXM_OF_IP_PROTO",
         .oxm = "OXM_OF_IP_PROTO",
         .of = field::nw_proto,
         .form = decimal,
         .needs = p::ip,
         .match_needs = p::ip_or_arp,
         .maskable = false,
         .writable = false},
        {.name = "arp_op",
         .nxm = "NXM_OF_ARP_OP",
         .oxm = "OXM_OF_ARP_OP",
         .of = field::nw_proto,
         .width = 16,
         .bits = 8,
         .form = decimal,
         .needs = p::arp,
         .maskable = false},
        {.name = "nw_tos",
         .nxm = "NXM_OF_IP_TOS",
         .of = field::nw_tos,
         .width = 8,
         .low = 2,
         .bits = 6,
         .first = 2,
         .form = decimal,
         .needs = p::ip,
         .maskable = false},
        {.name = "ip_dscp",
         .oxm = "OXM_OF_IP_DSCP",
         .of = field::nw_tos,
         .width = 6,
         .bits = 6,
         .first = 2,
         .form = decimal,
         .needs = p::ip,
         .maskable = false},
        {.name = "nw_ecn",
         .alias = "ip_ecn",
         .nxm = "NXM_NX_IP_ECN",
         .oxm = "OXM_OF_IP_ECN",
         .of = field::nw_tos,
         .width = 2,
         .bits = 2,
         .form = decimal,
         .needs = p::ip,
         .maskable = false},
        {.name = "nw_ttl",
         .nxm = "NXM_NX_IP_TTL",
         .of = field::nw_ttl,
         .form = decimal,
         .needs = p::ip,
         .maskable = false},
        {.name = "ip_frag",
         .alias = "nw_frag",
         .nxm = "NXM_NX_IP_FRAG",
         .of = field::nw_frag,
         .width = 2,
         .bits = 2,
         .form = fragment,
         .needs = p::ip,
         .writable = false},
        {.name = "tcp_flags",
         .nxm = "NXM_NX_TCP_FLAGS",
         .oxm = "OXM_OF_TCP_FLAGS",
         .oxm_alias = "ONFOXM_ET_TCP_FLAGS",
         .of = field::tcp_flags,
         .width = 12,
         .bits = 12,
         .form = tcp_flags,
         .needs = p::tcp,
         .writable = false},
        {.name = "ip_src",
         .alias = "nw_src",
         .nxm = "NXM_OF_IP_SRC",
         .oxm = "OXM_OF_IPV4_SRC",
         .of = field::nw_src,
         .form = ipv4,
         .needs = p::ipv4,
         .match_needs = p::ipv4_or_arp},
        {.name = "ip_dst",
         .alias = "nw_dst",
         .nxm = "NXM_OF_IP_DST",
         .oxm = "OXM_OF_IPV4_DST",
         .of = field::nw_dst,
         .form = ipv4,
         .needs = p::ipv4,
         .match_needs = p::ipv4_or_arp},
        {.name = "arp_spa",
         .nxm = "NXM_OF_ARP_SPA",
         .oxm = "OXM_OF_ARP_SPA",
         .of = field::nw_src,
         .form = ipv4,
         .needs = p::arp},
        {.name = "arp_tpa",
         .nxm = "NXM_OF_ARP_TPA",
         .oxm = "OXM_OF_ARP_TPA",
         .of = field::nw_dst,
         .form = ipv4,
         .needs = p::arp},
        {.name = "ipv6_src",
         .nxm = "NXM_NX_IPV6_SRC",
         .oxm = "OXM_OF_IPV6_SRC",
         .of = field::ipv6_src,
         .form = ipv6,
         .needs = p::ipv6},
        {.name = "ipv6_dst",
         .nxm = "NXM_NX_IPV6_DST",
         .oxm = "OXM_OF_IPV6_DST",
         .of = field::ipv6_dst,
         .form = ipv6,
         .needs = p::ipv6},
        {.name = "ipv6_label",
         .nxm = "NXM_NX_IPV6_LABEL",
         .oxm = "OXM_OF_IPV6_FLABEL",
         .of = field::ipv6_label,
         .needs = p::ipv6},
        {.name = "tcp_src",
         .nxm = "NXM_OF_TCP_SRC",
         .oxm = "OXM_OF_TCP_SRC",
         .of = field::tp_src,
         .form = decimal,
         .needs = p::tcp,
         .ranges = true},
        {.name = "tcp_dst",
         .nxm = "NXM_OF_TCP_DST",
         .oxm = "OXM_OF_TCP_DST",
         .of = field::tp_dst,
         .form = decimal,
         .needs = p::tcp,
         .ranges = true},
        {.name = "udp_src",
         .nxm = "NXM_OF_UDP_SRC",
         .oxm = "OXM_OF_UDP_SRC",
         .of = field::tp_src,
         .form = decimal,
         .needs = p::udp,
         .ranges = true},
        {.name = "udp_dst",
         .nxm = "NXM_OF_UDP_DST",
         .oxm = "OXM_OF_UDP_DST",
         .of = field::tp_dst,
         .form = decimal,
         .needs = p::udp,
         .ranges = true},
        {.name = "sctp_src",
         .oxm = "OXM_OF_SCTP_SRC",
         .of = field::tp_src,
         .form = decimal,
         .needs = p::sctp,
         .ranges = true},
        {.name = "sctp_dst",
         .oxm = "OXM_OF_SCTP_DST",
         .of = field::tp_dst,
         .form = decimal,
         .needs = p::sctp,
         .ranges = true},
        // To an action, TCP's.
        {.name = "tp_src",
         .of = field::tp_src,
         .form = decimal,
         .needs = p::tcp,
         .match_needs = p::ports_or_icmp,
         .ranges = true},
        {.name = "tp_dst",
         .of = field::tp_dst,
         .form = decimal,
         .needs = p::tcp,
         .match_needs = p::ports_or_icmp,
         .ranges = true},
        {.name = "icmp_type",
         .nxm = "NXM_OF_ICMP_TYPE",
         .oxm = "OXM_OF_ICMPV4_TYPE",
         .of = field::tp_src,
         .width = 8,
         .bits = 8,
         .form = decimal,
         .needs = p::icmp4,
         .match_needs = p::icmp,
         .maskable = false,
         .fills = true},
        {.name = "icmp_code",
         .nxm = "NXM_OF_ICMP_CODE",
         .oxm = "OXM_OF_ICMPV4_CODE",
         .of = field::tp_dst,
         .width = 8,
         .bits = 8,
         .form = decimal,
         .needs = p::icmp4,
         .match_needs = p::icmp,
         .maskable = false,
         .fills = true},
        {.name = "icmpv6_type",
         .nxm = "NXM_NX_ICMPV6_TYPE",
         .oxm = "OXM_OF_ICMPV6_TYPE",
         .of = field::tp_src,
         .width = 8,
         .bits = 8,
         .form = decimal,
         .needs = p::icmp6,
         .maskable = false,
         .fills = true},
        {.name = "icmpv6_code",
         .nxm = "NXM_NX_ICMPV6_CODE",
         .oxm = "OXM_OF_ICMPV6_CODE",
         .of = field::tp_dst,
         .width = 8,
         .bits = 8,
         .form = decimal,
         .needs = p::icmp6,
         .maskable = false,
         .fills = true},
        {.name = "arp_sha",
         .nxm = "NXM_NX_ARP_SHA",
         .oxm = "OXM_OF_ARP_SHA",
         .of = field::arp_sha,
         .form = ethernet,
         .needs = p::arp},
        {.name = "arp_tha",
         .nxm = "NXM_NX_ARP_THA",
         .oxm = "OXM_OF_ARP_THA",
         .of = field::arp_tha,
         .form = ethernet,
         .needs = p::arp},
        {.name = "nd_target",
         .nxm = "NXM_NX_ND_TARGET",
         .oxm = "OXM_OF_IPV6_ND_TARGET",
         .of = field::nd_target,
         .form = ipv6,
         .needs = p::neighbour},
        {.name = "nd_sll",
         .nxm = "NXM_NX_ND_SLL",
         .oxm = "OXM_OF_IPV6_ND_SLL",
         .of = field::arp_sha,
         .form = ethernet,
         .needs = p::neighbour_solicitation},
        {.name = "nd_tll",
         .nxm = "NXM_NX_ND_TLL",
         .oxm = "OXM_OF_IPV6_ND_TLL",
         .of = field::arp_tha,
         .form = ethernet,
         .needs = p::neighbour_advertisement},
        {.name = "packet_length",
         .of = field::packet_length,
         .form = decimal,
         .writable = false,
         .ranges = true},
        {.name = "metadata", .oxm = "OXM_OF_METADATA", .of = field::metadata},
        {.name = "pkt_mark", .nxm = "NXM_NX_PKT_MARK", .of = field::pkt_mark},
        {.name = "actset_output",
         .oxm = "OXM_OF_ACTSET_OUTPUT",
         .oxm_alias = "ONFOXM_ET_ACTSET_OUTPUT",
         .of = field::actset_output,
         .form = port_32,
         .maskable = false,
         .writable = false},
        {.name = "ct_state",
         .nxm = "NXM_NX_CT_STATE",
         .of = field::ct_state,
         .form = ct_flags,
         .writable = false},
        {.name = "ct_zone",
         .nxm = "NXM_NX_CT_ZONE",
         .of = field::ct_zone,
         .form = decimal,
         .maskable = false,
         .writable = false},
        {.name = "ct_mark", .nxm = "NXM_NX_CT_MARK", .of = field::ct_mark, .connection = true},
        {.name = "ct_label", .nxm = "NXM_NX_CT_LABEL", .of = field::ct_label, .connection = true},
        {.name = "ct_nw_proto",
         .nxm = "NXM_NX_CT_NW_PROTO",
         .of = field::ct_nw_proto,
         .form = decimal,
         .needs = p::tracked,
         .maskable = false,
         .writable = false},
        {.name = "ct_nw_src",
         .nxm = "NXM_NX_CT_NW_SRC",
         .of = field::ct_nw_src,
         .form = ipv4,
         .needs = p::tracked_ipv4,
         .writable = false},
        {.name = "ct_nw_dst",
         .nxm = "NXM_NX_CT_NW_DST",
         .of = field::ct_nw_dst,
         .form = ipv4,
         .needs = p::tracked_ipv4,
         .writable = false},
        {.name = "ct_ipv6_src",
         .nxm = "NXM_NX_CT_IPV6_SRC",
         .of = field::ct_ipv6_src,
         .form = ipv6,
         .needs = p::tracked_ipv6,
         .writable = false},
        {.name = "ct_ipv6_dst",
         .nxm = "NXM_NX_CT_IPV6_DST",
         .of = field::ct_ipv6_dst,
         .form = ipv6,
         .needs = p::tracked_ipv6,
         .writable = false},
        {.name = "ct_tp_src",
         .nxm = "NXM_NX_CT_TP_SRC",
         .of = field::ct_tp_src,
         .form = decimal,
         .needs = p::tracked_ports,
         .writable = false,
         .ranges = true},
        {.name = "ct_tp_dst",
         .nxm = "NXM_NX_CT_TP_DST",
         .of = field::ct_tp_dst,
         .form = decimal,
         .needs = p::tracked_ports,
         .writable = false,
         .ranges = true},
        {.name = "tun_id",
         .alias = "tunnel_id",
         .nxm = "NXM_NX_TUN_ID",
         .oxm = "OXM_OF_TUNNEL_ID",
         .of = field::tun_id},
        {.name = "tun_src", .nxm = "NXM_NX_TUN_IPV4_SRC", .of = field::tun_src, .form = ipv4},
        {.name = "tun_dst", .nxm = "NXM_NX_TUN_IPV4_DST", .of = field::tun_dst, .form = ipv4},
        {.name = "tun_ipv6_src",
         .nxm = "NXM_NX_TUN_IPV6_SRC",
         .of = field::tun_ipv6_src,
         .form = ipv6},
        {.name = "tun_ipv6_dst",
         .nxm = "NXM_NX_TUN_IPV6_DST",
         .of = field::tun_ipv6_dst,
         .form = ipv6},
        {.name = "tun_flags",
         .nxm = "NXM_NX_TUN_FLAGS",
         .of = field::tun_flags,
         .width = 1,
         .bits = 1,
         .form = tunnel_flags},
        {.name = "tun_tos", .of = field::tun_tos},
        {.name = "tun_ttl", .of = field::tun_ttl, .form = decimal},
        {.name = "tun_gbp_id",
         .nxm = "NXM_NX_TUN_GBP_ID",
         .of = field::tun_gbp_id,
         .form = decimal},
        {.name = "tun_gbp_flags", .nxm = "NXM_NX_TUN_GBP_FLAGS", .of = field::tun_gbp_flags},
    };
}

void add_registers(std::vector<flow_field>& fields, field first, unsigned count, std::string name,
                   std::string standard)
{
    static std::deque<std::string> names; // which the fields refer to
    for (unsigned i = 0; i < count; ++i) {
        const std::string number = std::to_string(i);
        const std::string_view own = names.emplace_back(name + number);
        const std::string_view long_name = names.emplace_back(standard + number);
        flow_field f{.name = own, .of = static_cast<field>(static_cast<unsigned>(first) + i)};
        (standard.starts_with("OXM") ? f.oxm : f.nxm) = long_name;
        fields.push_back(f);
    }
}

void add_options(std::vector<flow_field>& fields)
{
    static std::deque<std::string> names; // which the fields refer to
    for (unsigned i = 0; i < flow::option_name_count; ++i) {
        const std::string number = std::to_string(i);
        const std::string_view own = names.emplace_back("tun_metadata" + number);
        const std::string_view long_name = names.emplace_back("NXM_NX_TUN_METADATA" + number);
        fields.push_back({.name = own,
                          .nxm = long_name,
                          .of = field::tun_present,
                          .width = 1,
                          .bits = 1,
                          .is_option = true,
                          .index = static_cast<std::uint8_t>(i)});
    }
}

std::vector<flow_field> make_fields()
{
    std::vector<flow_field> out = named_fields();
    add_registers(out, field::reg0, 16, "reg", "NXM_NX_REG");
    add_registers(out, field::xreg0, 8, "xreg", "OXM_OF_PKT_REG");
    add_registers(out, field::xxreg0, 4, "xxreg", "NXM_NX_XXREG");
    add_options(out);
    for (auto& f : out) {
        if (f.width == 0) {
            f.width = static_cast<std::uint16_t>(flow::width_of(f.of));
            f.bits = f.width;
        }
    }
    return out;
}

const std::vector<flow_field>& all_fields()
{
    static const std::vector<flow_field> fields = make_fields();
    return fields;
}

using by_name = std::unordered_map<std::string_view, const flow_field*>;

by_name make_names()
{
    by_name out;
    for (const auto& f : all_fields()) {
        for (const auto name : {f.name, f.alias, f.nxm, f.oxm, f.oxm_alias}) {
            if (!name.empty()) {
                out.emplace(name, &f);
            }
        }
    }
    return out;
}

struct unsupported {
    std::string_view beginning;
    std::string_view what;
};
constexpr std::array<unsupported, 13> unsupported_fields{{
    {"mpls_", "MPLS"},
    {"nsh_", "the network service header"},
    {"nsp", "the network service header"},
    {"nsi", "the network service header"},
    {"nshc", "the network service header"},
    {"tun_erspan_", "ERSPAN"},
    {"tun_gtpu_", "GTP-U"},
    {"nd_reserved", "a part of neighbour discovery that no flow can have"},
    {"nd_options_type", "a part of neighbour discovery that no flow can have"},
    {"skb_priority", "an output queue"},
    {"packet_type", "packets without an Ethernet header"},
    {"recirc_id", "a matter of Open vSwitch's own passes"},
    {"dp_hash", "a matter of Open vSwitch's own passes"},
}};

std::vector<std::string> spoken_names()
{
    std::vector<std::string> out;
    for (const auto& f : all_fields()) {
        out.emplace_back(f.name);
        if (!f.alias.empty()) {
            out.emplace_back(f.alias);
        }
    }
    return out;
}

flow_fault wrong_bits(std::string_view text)
{
    return {text, shown(text) + " does not say which bits; it must be like reg0, reg0[3] or "
                                "reg0[0..15]"};
}

std::optional<unsigned> take_number(std::string_view& text)
{
    unsigned n = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (code != std::errc{} || n > 0xffff) {
        return std::nullopt;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return n;
}

} // namespace

wide flow_field::to_key(wide text) const noexcept
{
    return ((text >> low) & wide::ones(bits)) << first;
}

wide flow_field::to_text(wide key) const noexcept
{
    return ((key >> first) & wide::ones(bits)) << low;
}

std::span<const flow_field> flow_fields()
{
    return all_fields();
}

const flow_field* find_field(std::string_view name)
{
    static const by_name names = make_names();
    const auto found = names.find(name);
    return found == names.end() ? nullptr : found->second;
}

std::string_view unsupported_field(std::string_view name)
{
    for (const auto& u : unsupported_fields) {
        if (!name.starts_with(u.beginning)) {
            continue;
        }
        // mpls_..., or nsi, nshc1.
        const std::string_view rest = name.substr(u.beginning.size());
        if (u.beginning.ends_with('_') ||
            rest.find_first_not_of("0123456789") == std::string_view::npos) {
            return u.what;
        }
    }
    return {};
}

flow_fault no_such_field(std::string_view name)
{
    if (const auto what = unsupported_field(name); !what.empty()) {
        return {name, shown(name) + " is " + std::string{what} + ", which flows here do not have"};
    }
    return {name, shown(name) + " is no field" + suggestion(name, spoken_names())};
}

flow_result<const flow_field*> known_field(const flow_field& f, std::string_view at,
                                           const port_names& names)
{
    if (!f.is_option || f.option != nullptr) {
        return &f;
    }
    if (const option_names* const options = names.options()) {
        if (const option_field* const known = options->at(f.index)) {
            return &known->whole;
        }
    }
    return flow_fault{at, std::string{f.name} +
                              " is no option of Geneve that the bridge knows; say which it is: "
                              "tlv-map add {class=0x102,type=0x80,len=4}->" +
                              std::string{f.name}};
}

flow::subfield field_bits::in_key() const noexcept
{
    if (field->option != nullptr) {
        return subfield_of(*field->option, first, bits);
    }
    const unsigned begin = std::max(first, unsigned{field->low});
    const unsigned end = std::min(first + bits, unsigned{field->low} + field->bits);
    if (begin >= end) {
        return {field->of, 0, 0};
    }
    return {field->of, static_cast<std::uint8_t>(field->first + begin - field->low),
            static_cast<std::uint8_t>(end - begin)};
}

flow_result<field_bits> parse_field_bits(std::string_view text, const port_names& names)
{
    const std::size_t bracket = text.find('[');
    const std::string_view name = text.substr(0, bracket);
    const flow_field* const found = find_field(name);
    if (found == nullptr) {
        return name.empty() ? flow_fault{text, "a field is missing here"} : no_such_field(name);
    }
    const auto known = known_field(*found, text, names);
    if (known.has_error()) {
        return known.error();
    }
    const flow_field* const field = *known;
    if (!field->instead.empty()) {
        return flow_fault{text, "no action has " + std::string{name} + "; write " +
                                    std::string{field->instead}};
    }
    field_bits out{field, 0, field->width, text};
    if (bracket == std::string_view::npos || text.substr(bracket) == "[]") {
        return out;
    }
    std::string_view inside = text.substr(bracket + 1);
    const auto first = take_number(inside);
    auto last = first;
    if (first && inside.starts_with("..")) {
        inside.remove_prefix(2);
        last = take_number(inside);
    }
    if (!first || !last || inside != "]" || *last < *first) {
        return wrong_bits(text);
    }
    if (*last >= field->width) {
        return flow_fault{text, std::string{field->name} + " has no bit " + std::to_string(*last) +
                                    "; it has " + std::to_string(field->width) +
                                    ", counted from 0"};
    }
    out.first = *first;
    out.bits = *last - *first + 1;
    return out;
}

const flow_field& field_for(const flow::subfield& s, const flow::match& m)
{
    const flow_field* fallback = nullptr;
    for (const auto& f : all_fields()) {
        if (f.of != s.of || !f.instead.empty() || s.first < f.first ||
            s.first + s.bits > f.first + f.bits) {
            continue;
        }
        if (holds(f.needs, m)) {
            return f;
        }
        fallback = fallback == nullptr ? &f : fallback;
    }
    if (fallback == nullptr) {
        fallback = &*std::ranges::find(all_fields(), s.of, &flow_field::of);
    }
    return *fallback;
}

void append_subfield(std::string& out, const flow::subfield& s, const flow::match& m,
                     const port_names* names, bool number)
{
    if (flow::is_option_data(s.of)) {
        append_option_bits(out, s, names);
        return;
    }
    const flow_field& f = field_for(s, m);
    out += !f.nxm.empty() ? f.nxm : !f.oxm.empty() ? f.oxm : f.name;
    out += '[';
    if ((!f.is_whole() && !number) || s.first != f.first || s.bits != f.bits) {
        const unsigned first = unsigned{s.first} - f.first + f.low;
        append_decimal(out, first);
        if (s.bits > 1) {
            out += "..";
            append_decimal(out, first + s.bits - 1);
        }
    }
    out += ']';
}

} // namespace strait::control
