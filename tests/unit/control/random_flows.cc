// SPDX-License-Identifier: BSD-3-Clause
// Making random flows.
#include "tests/unit/control/random_flows.hh"

#include <array>
#include <cstdio>

namespace strait::test {

std::string random_flows::next()
{
    text_.clear();
    table_ = 0;
    is_ipv4_ = is_ipv6_ = is_arp_ = is_tagged_ = is_invalid_ = false;
    protocol_.clear();
    add_properties();
    add_type();
    add_metadata();
    add_connection();
    add_ethernet();
    if (is_arp_) {
        add_arp();
    }
    if (is_ipv4_ || is_ipv6_) {
        add_ip();
        add_transport();
    }
    if (chance(5)) {
        return text_ + "actions=conjunction(" + number(32) + ",2/" + std::to_string(2 + below(63)) +
               ")";
    }
    const std::string before = has_all() && chance(10) ? "meter:" + hex(1 + below(1000)) + "," : "";
    const std::string behind = has_all() && chance(30) ? instructions() : "";
    std::string list = actions(5, false);
    if (list.empty() && before.empty() && behind.empty()) {
        return text_ + "actions=drop";
    }
    return text_ + "actions=" + before + list + (list.empty() ? "" : ",") + behind;
}

std::string random_flows::hex(std::uint64_t value)
{
    std::array<char, 20> text{};
    std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(value));
    return text.data();
}

std::string random_flows::number(unsigned bits)
{
    const std::uint64_t all = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
    const std::uint64_t value = chance(20) ? (chance(50) ? all : 0) : random_() & all;
    return chance(50) ? hex(value) : std::to_string(value);
}

// With a mask or without.
std::string random_flows::masked(unsigned bits)
{
    if (chance(50)) {
        return number(bits);
    }
    const std::uint64_t all = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
    std::uint64_t mask = random_() & all;
    if (chance(50)) { // a run of bits
        mask = all >> below(bits) & all << below(bits);
    }
    return number(bits) + "/" + hex(mask);
}

std::string random_flows::ethernet()
{
    std::string out;
    for (unsigned i = 0; i < 6; ++i) {
        std::array<char, 4> text{};
        std::snprintf(text.data(), text.size(), "%02x", static_cast<unsigned>(below(256)));
        out += (i == 0 ? "" : ":") + std::string{text.data()};
    }
    return out;
}

std::string random_flows::ipv4()
{
    std::string out;
    for (unsigned i = 0; i < 4; ++i) {
        out += (i == 0 ? "" : ".") + std::to_string(chance(30) ? 0 : below(256));
    }
    return out;
}

std::string random_flows::ipv6()
{
    const auto group = [this] { return hex(below(0x10000)).substr(2); };
    switch (below(4)) {
    case 0:
        return "fe80::" + group();
    case 1:
        return "2001:db8:" + group() + "::" + group();
    case 2:
        return "::ffff:" + ipv4();
    default:
        break;
    }
    std::string out = group();
    for (unsigned i = 1; i < 8; ++i) {
        out += ":" + (chance(30) ? std::string{"0"} : group());
    }
    return out;
}

std::string random_flows::masked_ipv4()
{
    switch (below(4)) {
    case 0:
        return ipv4() + "/" + std::to_string(below(33));
    case 1:
        return ipv4() + "/" + ipv4();
    default:
        return ipv4();
    }
}

std::string random_flows::masked_ipv6()
{
    switch (below(4)) {
    case 0:
        return ipv6() + "/" + std::to_string(below(129));
    case 1:
        // One that begins with a digit, ovs-ofctl would take for a prefix's length.
        return ipv6() + "/ffff:" + one_of("f0f0::", "0:ffff::ff", ":ffff", "ffff:fff0::");
    default:
        return ipv6();
    }
}

std::string random_flows::flags(const std::vector<std::string>& names)
{
    std::string out;
    for (const auto& name : names) {
        if (chance(30)) {
            out += (chance(50) ? "+" : "-") + name;
        }
    }
    return out.empty() ? "+" + names.front() : out;
}

// Some `bits` of a field of `width`, by one of its names' forms.
std::string random_flows::bits_of(std::string_view name, unsigned width, unsigned bits)
{
    const std::string field{name};
    if (bits == width) {
        return field + (chance(50) ? "" : "[]");
    }
    const unsigned first = static_cast<unsigned>(below(width - bits + 1));
    return bits == 1 && chance(50) ? field + "[" + std::to_string(first) + "]"
                                   : field + "[" + std::to_string(first) + ".." +
                                         std::to_string(first + bits - 1) + "]";
}

void random_flows::add_properties()
{
    if (chance(30)) {
        table_ = static_cast<unsigned>(1 + below(200));
        match("table=" + std::to_string(table_));
    }
    maybe(50, "priority=" + std::to_string(below(65536)));
    maybe(20, "cookie=" + hex(1 + below(~std::uint64_t{1})));
    maybe(10, "idle_timeout=" + std::to_string(1 + below(65535)));
    maybe(10, "hard_timeout=" + std::to_string(1 + below(65535)));
    maybe(5, "send_flow_rem");
    maybe(5, "check_overlap");
    if (has_all()) {
        maybe(5, "importance=" + std::to_string(below(65536)));
        maybe(5, "reset_counts,no_packet_counts");
        maybe(5, "no_byte_counts");
    }
}

void random_flows::add_type()
{
    switch (below(has_all() ? 12 : 11)) {
    case 0:
        is_ipv4_ = true;
        match(one_of("ip", "dl_type=0x0800", "eth_type=2048"));
        break;
    case 1:
        is_ipv6_ = true;
        match(one_of("ipv6", "dl_type=0x86dd"));
        break;
    case 2:
        is_arp_ = true;
        match(one_of("arp", "rarp", "dl_type=0x806"));
        break;
    case 3:
    case 4:
    case 5:
        is_ipv4_ = true;
        protocol_ = one_of("tcp", "udp", "sctp", "icmp");
        match(protocol_);
        break;
    case 6:
    case 7:
    case 8:
        is_ipv6_ = true;
        protocol_ = one_of("tcp", "udp", "sctp", "icmp");
        match(protocol_ + "6");
        break;
    case 9:
        match("dl_type=" + hex(0x600 + below(0x200)));
        break;
    case 11:
        maybe(50, "packet_length=" + masked(16));
        break;
    default:
        break;
    }
}

void random_flows::add_metadata()
{
    maybe(30, "in_port=" + one_of("1", "2", "LOCAL", "65279"));
    maybe(5, "pkt_mark=" + masked(32));
    maybe(5, "conj_id=" + std::to_string(below(1000)));
    maybe(10, "metadata=" + masked(64));
    maybe(10, one_of("reg0=", "reg12=", "reg15=") + masked(32));
    maybe(5, "xreg1=" + masked(64));
    maybe(5, "xxreg1=" + hex(random_()) + "/0xffff0000ffffffffffffffff00000000");
    maybe(5, "reg9[3..7]=" + std::to_string(below(32)));
    maybe(5, "NXM_NX_REG8[]=" + number(32));
    maybe(10, "tun_id=" + masked(64));
    maybe(5, "tun_src=" + masked_ipv4());
    maybe(5, "tun_dst=" + masked_ipv4());
    maybe(5, "tun_ipv6_src=" + masked_ipv6());
    maybe(5, "tun_ipv6_dst=" + masked_ipv6());
    maybe(5, "tun_gbp_id=" + number(16));
    maybe(5, "tun_gbp_flags=" + number(8));
    maybe(5, "tun_flags=" + one_of("+oam", "-oam", "oam", "0"));
    if (has_all()) {
        maybe(5, "tun_tos=" + masked(8));
        maybe(5, "tun_ttl=" + masked(8));
    }
}

void random_flows::add_connection()
{
    maybe(5, "ct_zone=" + number(16));
    maybe(5, "ct_mark=" + masked(32));
    maybe(5, "ct_label=" + hex(random_()) + (chance(50) ? "" : "/0xffff00000000ffff00000000"));
    if (chance(20)) {
        const bool is_valid = chance(70);
        const std::string state = is_valid
                                      ? one_of("+new", "+est+trk", "+trk-inv", "+rel-new",
                                               "+rpl+trk-snat", "0x21/0x21", "0x22", "trk|new")
                                      : one_of("0", "-trk", "trk", "+trk", "+inv+trk", "-new-est");
        is_invalid_ = state.starts_with("+inv");
        match("ct_state=" + state);
        if (is_valid && (is_ipv4_ || is_ipv6_)) {
            const std::string family = is_ipv4_ ? "nw" : "ipv6";
            const auto address = [this] { return is_ipv4_ ? masked_ipv4() : masked_ipv6(); };
            maybe(30, "ct_" + family + "_src=" + address());
            maybe(30, "ct_" + family + "_dst=" + address());
            if (chance(30)) {
                match("ct_nw_proto=" + one_of("6", "17", "132"));
                maybe(50, "ct_tp_src=" + masked(16));
                maybe(50, "ct_tp_dst=" + masked(16));
            }
        }
    }
}

void random_flows::add_ethernet()
{
    add_tag();
    maybe(20, one_of("dl_src=", "eth_src=") + ethernet() + (chance(30) ? "/" + ethernet() : ""));
    maybe(20,
          one_of("dl_dst=", "eth_dst=") + ethernet() + (chance(30) ? "/01:00:00:00:00:00" : ""));
}

void random_flows::add_tag()
{
    switch (below(has_all() ? 14 : 12)) {
    case 0:
        match("dl_vlan=" + std::to_string(below(4096)));
        maybe(50, "dl_vlan_pcp=" + std::to_string(below(8)));
        is_tagged_ = true;
        break;
    case 1:
        match(one_of("dl_vlan_pcp=", "vlan_pcp=") + std::to_string(below(8)));
        is_tagged_ = true;
        break;
    case 2:
        match("vlan_vid=" + hex(0x1000 | below(4096)) +
              (chance(50) ? "" : "/" + hex(0x1000 | below(4096))));
        is_tagged_ = true;
        break;
    case 3:
        match("vlan_tci=" + hex(0x1000 | below(65536)) + "/" + hex(0x1000 | below(65536)));
        is_tagged_ = true;
        break;
    case 4:
        match(one_of("vlan_tci=0", "dl_vlan=0xffff", "vlan_tci=0/0x1000", "vlan_vid=0",
                     "vlan_tci=0/0xefff", "vlan_tci=0/0xfff", "vlan_tci=0x5000/0xe000"));
        break;
    case 12:
        match("inner_dl_vlan=" + std::to_string(below(4096)));
        maybe(50, "inner_dl_vlan_pcp=" + std::to_string(below(8)));
        break;
    case 13:
        match("inner_vlan_tci=" + hex(0x1000 | below(65536)) + "/" + hex(0x1000 | below(65536)));
        break;
    default:
        break;
    }
}

void random_flows::add_arp()
{
    maybe(50, one_of("arp_op=", "nw_proto=") + std::to_string(below(256)));
    maybe(30, one_of("arp_spa=", "nw_src=") + masked_ipv4());
    maybe(30, one_of("arp_tpa=", "nw_dst=") + masked_ipv4());
    maybe(30, "arp_sha=" + ethernet() + (chance(30) ? "/" + ethernet() : ""));
    maybe(30, "arp_tha=" + ethernet());
}

void random_flows::add_ip()
{
    if (is_ipv4_) {
        maybe(50, one_of("nw_src=", "ip_src=") + masked_ipv4());
        maybe(50, one_of("nw_dst=", "ip_dst=") + masked_ipv4());
    } else {
        maybe(50, "ipv6_src=" + masked_ipv6());
        maybe(50, "ipv6_dst=" + masked_ipv6());
        maybe(20, "ipv6_label=" + masked(20));
    }
    if (protocol_.empty() && chance(30)) {
        match(one_of("nw_proto=", "ip_proto=") + one_of("47", "50", "0", "255", "89"));
    }
    if (chance(20)) {
        match(chance(50) ? "nw_tos=" + std::to_string(below(64) * 4)
                         : "ip_dscp=" + std::to_string(below(64)));
    }
    maybe(10, one_of("nw_ecn=", "ip_ecn=") + std::to_string(below(4)));
    maybe(10, "nw_ttl=" + number(8));
    maybe(15, one_of("nw_frag=", "ip_frag=") +
                  (protocol_.empty() ? one_of("no", "yes", "first", "later", "not_later")
                                     : one_of("no", "first", "not_later")));
}

void random_flows::add_transport()
{
    if (protocol_ == "icmp") {
        add_neighbour();
        return;
    }
    if (protocol_.empty()) {
        return;
    }
    const std::string prefix = one_of("tp", protocol_);
    maybe(50, prefix + "_src=" + masked(16));
    maybe(50, prefix + "_dst=" + masked(16));
    if (protocol_ == "tcp" && chance(30)) {
        match("tcp_flags=" +
              (chance(50) ? flags({"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"})
                          : one_of("0", "syn|ack", "fin", "0x12/0x13", "+[200]-[800]")));
    }
}

void random_flows::add_neighbour()
{
    if (is_ipv4_ || chance(50)) {
        maybe(50, "icmp_type=" + std::to_string(is_ipv4_ ? below(256) : 128 + below(4)));
        maybe(30, "icmp_code=" + number(8));
        return;
    }
    const bool asks = chance(50);
    match(one_of("icmp_type=", "icmpv6_type=") + (asks ? "135" : "136"));
    maybe(50, one_of("icmp_code=0", "icmpv6_code=0"));
    maybe(50, "nd_target=" + masked_ipv6());
    maybe(50, (asks ? "nd_sll=" : "nd_tll=") + ethernet() + (chance(30) ? "/" + ethernet() : ""));
}

std::string random_flows::actions(unsigned most, bool within)
{
    std::string out;
    for (auto count = below(most + 1); count > 0; --count) {
        out += (out.empty() ? "" : ",") + action(within);
    }
    return out;
}

std::string random_flows::action(bool within)
{
    switch (below(10)) {
    case 0:
    case 1:
    case 2:
        return network_action();
    case 3:
        return is_ipv4_ || is_ipv6_ ? ct() : plain_action();
    case 4:
        if (!within) {
            const std::string inner = actions(3, true);
            return "clone(" + inner + ")";
        }
        return plain_action();
    case 5:
        return has_all() ? own_action() : plain_action();
    default:
        return plain_action();
    }
}

std::string random_flows::plain_action()
{
    switch (below(20)) {
    case 0:
        return one_of("output:", "") + std::to_string(1 + below(65279));
    case 1:
        return one_of("NORMAL", "FLOOD", "all", "in_port", "LOCAL", "output:normal", "TABLE");
    case 2:
        return "output:" + bits_of(one_of("reg0", "NXM_NX_REG3"), 32, 16);
    case 3:
        return one_of("mod_dl_src:", "mod_dl_dst:") + ethernet();
    case 4:
        return "mod_vlan_vid:" + std::to_string(below(4096));
    case 5:
        return "mod_vlan_pcp:" + std::to_string(below(8));
    case 6:
        is_tagged_ = false;
        return one_of("strip_vlan", "pop_vlan");
    case 7:
        return "load:" + number(7) + "->" + bits_of(one_of("reg1", "NXM_NX_REG2"), 32, 7);
    case 8:
        return "set_field:" + number(32) + "->" + one_of("reg4", "pkt_mark");
    case 9: {
        const auto bits = static_cast<unsigned>(1 + below(32));
        return "move:" + bits_of(one_of("reg1", "NXM_NX_REG2"), 32, bits) + "->" +
               bits_of(one_of("reg5", "NXM_NX_REG6"), 32, bits);
    }
    case 10:
        return "push:" + bits_of("reg7", 32, static_cast<unsigned>(1 + below(32)));
    case 11:
        return "pop:" + bits_of("eth_dst", 48, static_cast<unsigned>(1 + below(48)));
    case 12:
        return "resubmit(" + one_of("", "1", "LOCAL", "in_port") + "," +
               std::to_string(below(255)) + ")";
    case 13:
        return "resubmit:" + std::to_string(1 + below(100));
    case 14:
        return "group:" + std::to_string(below(0xffffff00));
    case 15:
        return "set_tunnel:" + number(chance(50) ? 32 : 31);
    case 16:
        return "note:" + hex(below(256) | 256).substr(3) + "." + hex(below(256) | 256).substr(3);
    case 17:
        return "check_pkt_larger(" + number(16) + ")->" + bits_of("reg9", 32, 1);
    case 18:
        return one_of("ct_clear", "exit");
    default:
        return "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]";
    }
}

// On fields that the flow's packets have.
std::string random_flows::network_action()
{
    const std::string port = std::to_string(below(65536));
    if (is_arp_) {
        return one_of("set_field:" + std::to_string(below(256)) + "->arp_op",
                      "set_field:" + ipv4() + "->arp_spa", "set_field:" + ethernet() + "->arp_sha",
                      std::string{"move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[]"},
                      std::string{"move:NXM_OF_ETH_SRC[]->NXM_NX_ARP_SHA[]"});
    }
    if (is_ipv4_ && chance(30)) {
        return one_of("mod_nw_src:", "mod_nw_dst:") + ipv4();
    }
    if (protocol_ == "icmp" && is_ipv4_ && chance(50)) {
        return "set_field:" + std::to_string(below(256)) + one_of("->icmp_type", "->icmp_code");
    }
    if (protocol_ == "icmp" && is_ipv6_ && chance(50)) {
        return "set_field:" + std::to_string(below(256)) + "->icmpv6_type";
    }
    if ((protocol_ == "tcp" || protocol_ == "udp") && chance(50)) {
        return one_of("mod_tp_src:" + port, "set_field:" + port + "->" + protocol_ + "_dst",
                      "move:" + protocol_ + "_src->" + protocol_ + "_dst");
    }
    if (is_ipv4_ || is_ipv6_) {
        return one_of(
            "mod_nw_tos:" + std::to_string(below(64) * 4), "mod_nw_ecn:" + std::to_string(below(4)),
            "set_field:" + std::to_string(below(256)) + "->nw_ttl", std::string{"dec_ttl"});
    }
    return plain_action();
}

// What Open vSwitch writes otherwise, and what OpenFlow 1.0 has not.
std::string random_flows::own_action()
{
    if (is_ipv6_ && chance(30)) {
        return "set_field:" + ipv6() + one_of("", "/ffff:0:ffff::1") + "->ipv6_dst";
    }
    if (is_tagged_ && chance(30)) {
        return one_of("set_field:" + std::to_string(below(4096)) + "->vlan_vid",
                      "set_field:" + std::to_string(below(8)) + "->vlan_pcp",
                      std::string{"move:reg0[0..11]->vlan_vid"});
    }
    if (chance(10)) {
        return "output(port=" + one_of("5", "in_port", "LOCAL") +
               ",max_len=" + std::to_string(14 + below(70'000)) + ")";
    }
    return one_of(std::string{"push_vlan:0x8100"}, std::string{"push_vlan:0x88a8"},
                  "set_field:" + number(32) + "/" + hex(below(0xffff'ffff) | 0x10001) + "->reg3",
                  "set_field:" + hex(random_()) + "->xxreg1",
                  "set_field:" + number(64) + "->metadata",
                  "load:" + number(16) + "->inner_vlan_tci",
                  "set_field:" + ethernet() + "/01:80:00:00:00:01->eth_dst",
                  "set_tunnel64:" + number(64), "set_field:" + ipv6() + "->tun_ipv6_dst",
                  std::string{"move:inner_vlan_tci[0..11]->vlan_tci[0..11]"});
}

std::string random_flows::ct()
{
    const bool commits = !is_invalid_ && chance(60);
    std::vector<std::string> arguments;
    const auto maybe_word = [&](unsigned percent, const std::string& word) {
        if (chance(percent)) {
            arguments.push_back(word);
        }
    };
    if (commits) {
        arguments.emplace_back("commit");
        maybe_word(20, "force");
        maybe_word(30, protocol_ == "tcp" ? "alg=ftp" : protocol_ == "udp" ? "alg=tftp" : "zone=7");
    } else {
        maybe_word(50, "zone=" + one_of("5", "65535", "reg0[0..15]", "NXM_NX_REG13[16..31]"));
    }
    maybe_word(50, "table=" + std::to_string(below(255)));
    maybe_word(50, commits && chance(70) ? nat() : "nat");
    if (commits) {
        maybe_word(40, "exec(" +
                           one_of("set_field:" + number(32) + "->ct_mark",
                                  std::string{"load:0x3->NXM_NX_CT_MARK[4..7]"},
                                  std::string{"move:NXM_NX_REG0[]->NXM_NX_CT_MARK[]"},
                                  std::string{"load:0x1->NXM_NX_CT_LABEL[0]"}) +
                           ")");
    }
    std::string out;
    for (const auto& word : arguments) {
        out += (out.empty() ? "" : ",") + word;
    }
    return "ct(" + out + ")";
}

std::string random_flows::nat()
{
    const std::string side = one_of("src", "dst");
    if (chance(10)) {
        return "nat(" + side + ")";
    }
    std::string range =
        is_ipv4_ ? one_of("10.0.0.1", "10.0.0.1-10.0.0.9") : one_of("fe80::1", "fe80::1-fe80::9");
    if (chance(50)) {
        if (is_ipv6_) {
            range = one_of("[fe80::1]", "[fe80::1]-[fe80::9]");
        }
        range += one_of(":80", ":1000-1999");
    }
    return "nat(" + side + "=" + range + one_of("", ",persistent") +
           one_of("", ",hash", ",random") + ")";
}

// In their order; each ends with a comma, which the reader passes over.
std::string random_flows::instructions()
{
    std::string out;
    if (chance(30)) {
        out += "clear_actions,";
    }
    if (chance(50)) {
        out += "write_actions(" +
               one_of("output:1", "group:5,load:0x1->NXM_NX_REG0[]", "resubmit(,3)") + "),";
    }
    if (chance(50)) {
        out += "write_metadata:" + number(64) + (chance(50) ? "" : "/" + hex(random_() | 1)) + ",";
    }
    if (chance(50)) {
        out += "goto_table:" + std::to_string(table_ + 1 + below(20));
    }
    return out;
}

} // namespace strait::test
