// SPDX-License-Identifier: BSD-3-Clause
// Writing matches (flow_match_text.hh).
#include "control/flow_match_text.hh"
#include "control/flow_options.hh"
#include "control/flow_shorthands.hh"

namespace strait::control {

using flow::field;
using flow::wide;

namespace {

class match_printer {
public:
    match_printer(std::string& out, const flow::match& m, const port_names* ports)
        : out_{out}, match_{m}, ports_{ports}
    {}

    void print()
    {
        print_first();
        print_type();
        print_metadata();
        print_ethernet();
        print_network();
        print_transport();
    }

private:
    // Of a field by its name in the table, which the output calls `name`.
    void put(std::string_view field_name, std::string_view name)
    {
        const flow_field& f = *find_field(field_name);
        const wide mask = f.to_text(match_.mask.get(f.of));
        if (mask.is_zero()) {
            return;
        }
        out_ += name;
        out_ += '=';
        append_value(out_, f.form, f.width,
                     {f.to_text(match_.value.get(f.of)), with_zeros(f, mask)}, ports_);
        out_ += ',';
    }
    void put(std::string_view name) { put(name, name); }

    // Bits that text has and the key has not are as good as matched.
    static wide with_zeros(const flow_field& f, wide mask)
    {
        return mask == f.to_text(wide::ones(128)) ? wide::ones(f.width) : mask;
    }

    void put_padded(field of, std::string_view name, unsigned digits)
    {
        const wide mask = match_.mask.get(of);
        if (mask.is_zero()) {
            return;
        }
        out_ += name;
        out_ += "=0x";
        append_padded(out_, match_.value.number(of), digits);
        if (mask != wide::ones(flow::width_of(of))) {
            out_ += "/0x";
            append_padded(out_, mask.low, digits);
        }
        out_ += ',';
    }

    void print_first()
    {
        for (const auto* name : {"pkt_mark", "conj_id", "actset_output", "ct_state", "ct_zone",
                                 "ct_mark", "ct_label", "ct_nw_src", "ct_ipv6_src", "ct_nw_dst",
                                 "ct_ipv6_dst", "ct_nw_proto", "ct_tp_src", "ct_tp_dst"}) {
            put(name);
        }
    }

    void print_type()
    {
        if (match_.mask.number(field::eth_type) != 0xffff) {
            return;
        }
        const bool has_protocol = match_.mask.number(field::nw_proto) == 0xff;
        type_ = shorthand_for(
            static_cast<std::uint16_t>(match_.value.number(field::eth_type)),
            has_protocol ? static_cast<std::uint8_t>(match_.value.number(field::nw_proto)) : 0);
        if (type_ != nullptr) {
            out_ += type_->name;
            out_ += ',';
        }
    }

    void print_metadata()
    {
        for (unsigned i = 0; i < 16; ++i) {
            const auto of = static_cast<field>(static_cast<unsigned>(field::reg0) + i);
            const wide mask = match_.mask.get(of);
            if (!mask.is_zero()) {
                out_ += "reg";
                append_decimal(out_, i);
                out_ += '=';
                append_value(out_, value_form::hexadecimal, 32, {match_.value.get(of), mask},
                             nullptr);
                out_ += ',';
            }
        }
        for (const auto* name :
             {"tun_id", "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "tun_gbp_id",
              "tun_gbp_flags", "tun_tos", "tun_ttl", "tun_flags"}) {
            put(name);
        }
        append_options(out_, match_, ports_);
        for (const auto* name : {"metadata", "in_port", "packet_length"}) {
            put(name);
        }
    }

    void print_ethernet()
    {
        print_tag(field::vlan_tci, "");
        print_tag(field::inner_vlan_tci, "inner_");
        put("eth_src", "dl_src");
        put("eth_dst", "dl_dst");
        if (type_ == nullptr) {
            put_padded(field::eth_type, "dl_type", 4);
        }
    }

    void print_tag(field of, std::string_view prefix)
    {
        constexpr std::uint64_t identifier = 0xfff;
        constexpr std::uint64_t priority = 0xe000;
        const std::uint64_t mask = match_.mask.number(of);
        const std::uint64_t value = match_.value.number(of);
        const bool has_identifier = (mask & identifier) == identifier;
        const bool has_priority = (mask & priority) == priority;
        const bool is_plain =
            (value & flow::vlan_present) != 0 && (has_identifier || (mask & identifier) == 0) &&
            (has_priority || (mask & priority) == 0) && (has_identifier || has_priority);
        if (!is_plain) {
            put_padded(of, std::string{prefix} + "vlan_tci", 4);
            return;
        }
        if (has_identifier) {
            out_ += prefix;
            out_ += "dl_vlan=";
            append_decimal(out_, value & identifier);
            out_ += ',';
        }
        if (has_priority) {
            out_ += prefix;
            out_ += "dl_vlan_pcp=";
            append_decimal(out_, value >> 13);
            out_ += ',';
        }
    }

    void print_network()
    {
        if (holds(prerequisite::arp, match_)) {
            for (const auto* name : {"arp_spa", "arp_tpa", "arp_op", "arp_sha", "arp_tha"}) {
                put(name);
            }
            return;
        }
        put("ip_src", "nw_src");
        put("ip_dst", "nw_dst");
        put("ipv6_src");
        put("ipv6_dst");
        put_padded(field::ipv6_label, "ipv6_label", 5);
        if (type_ == nullptr || type_->protocol == 0) {
            put("nw_proto");
        }
        for (const auto* name : {"nw_tos", "nw_ecn", "nw_ttl"}) {
            put(name);
        }
        put("ip_frag", "nw_frag");
    }

    void print_transport()
    {
        if (holds(prerequisite::icmp, match_)) {
            put("icmp_type");
            put("icmp_code");
            put("nd_target");
            put("arp_sha", "nd_sll");
            put("arp_tha", "nd_tll");
            return;
        }
        put("tp_src");
        put("tp_dst");
        put("tcp_flags");
    }

    std::string& out_;
    const flow::match& match_;
    const port_names* ports_;
    const shorthand* type_{nullptr};
};

} // namespace

void append_match(std::string& out, const flow::match& m, const port_names* ports)
{
    match_printer{out, m, ports}.print();
}

} // namespace strait::control
