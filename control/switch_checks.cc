// SPDX-License-Identifier: BSD-3-Clause
// What of a running switch's state an operator should know.
#include "control/doctor.hh"

#include "control/mtu_conflict.hh"
#include "control/print_parts.hh"

#include <algorithm>
#include <bitset>
#include <map>
#include <optional>
#include <set>
#include <string_view>

namespace strait::control {

namespace json = boost::json;

namespace {

using enum finding::kind;

std::string name_of(const json::object& port)
{
    return plain(member(port, "name"));
}

bool is_true(const json::value& v)
{
    return v.is_bool() && v.as_bool();
}

// Inside of a tunnel there is less room than outside.
std::uint64_t overhead_of(const json::object& tunnel)
{
    const std::string type = plain(member(tunnel, "type"));
    const bool ipv6 = plain(member(as_object(member(tunnel, "options")), "remote")).find(':') !=
                      std::string::npos;
    const std::uint64_t ip = ipv6 ? 40 : 20;
    constexpr std::uint64_t ethernet = 14;
    return ip + ethernet + (type == "vxlan" || type == "geneve" ? 16 : 8);
}

bool is_tunnel(const json::object& port)
{
    return is_tunnel_type(plain(member(port, "type")));
}

// How much a port has dropped for this reason.
std::uint64_t dropped(const switch_report& r, const std::string& port, std::string_view reason)
{
    for (const auto& element : as_array(member(r.drops, "ports"))) {
        const auto& p = as_object(element);
        if (name_of(p) == port) {
            return as_count(member(as_object(member(p, "drops")), reason));
        }
    }
    return 0;
}

// As it is compared with others'.
port_mtu mtu_of(const json::object& port, const json::array& mirrors)
{
    std::bitset<4096> vlans;
    const auto carry = [&vlans](const json::value& vlan) {
        if (const std::uint64_t id = as_count(vlan); vlan.is_number() && id < vlans.size()) {
            vlans.set(id);
        }
    };
    for (const char* one : {"vlan", "qinq", "native"}) {
        carry(member(port, one));
    }
    for (const auto& vlan : as_array(member(port, "trunk"))) {
        carry(vlan);
    }
    const bool takes_copies =
        std::ranges::any_of(mirrors, [name = name_of(port)](const json::value& mirror) {
            return plain(member(as_object(member(as_object(mirror), "output")), "port")) == name;
        });
    return {name_of(port), as_count(member(port, "mtu")),
            vlans.any() ? std::optional{vlans} : std::nullopt, is_true(member(port, "isolated")),
            !takes_copies};
}

// What a port's device can do at most; nothing: it does not say.
std::optional<std::uint64_t> most_mtu(const json::object& p)
{
    const auto* const most = as_object(member(p, "details")).if_contains("max_mtu");
    return most == nullptr ? std::nullopt : std::optional{as_count(*most)};
}

// Frames go from a port to another of the bridge as they are.
void examine_mtus(const switch_report& r, findings& out)
{
    struct compared {
        std::vector<port_mtu> mtus;
        std::vector<std::optional<std::uint64_t>> most; // of each
    };
    std::map<std::string, compared> bridges;
    std::uint64_t underlay = 0; // the smallest of the switch's own ports
    for (const auto& element : r.ports) {
        const auto& p = as_object(element);
        const std::uint64_t mtu = as_count(member(p, "mtu"));
        const std::string type = plain(member(p, "type"));
        if (type == "local") {
            underlay = underlay == 0 ? mtu : std::min(underlay, mtu);
        } else if (has_comparable_mtu(type) && !member(p, "bridge").is_null()) {
            compared& c = bridges[plain(member(p, "bridge"))];
            c.mtus.push_back(mtu_of(p, r.mirrors));
            c.most.push_back(most_mtu(p));
        }
    }
    for (const auto& [bridge, ports] : bridges) {
        for (std::size_t i = 0; i < ports.mtus.size(); ++i) {
            const auto conflict = conflict_as_small(ports.mtus[i], ports.mtus);
            if (!conflict) {
                continue;
            }
            const std::uint64_t lost = dropped(r, conflict->small->name, "mtu_exceeded");
            out.push_back({lost > 0 ? fault : advice, "MTU",
                           sentence_of(*conflict, bridge, ports.most[i]) +
                               (lost > 0 ? "; " + grouped(lost) + (lost == 1 ? " was" : " were") +
                                               " dropped for it"
                                         : ""),
                           mend_of(*conflict, ports.most[i])});
        }
    }
    for (const auto& element : r.ports) {
        const auto& p = as_object(element);
        if (is_tunnel(p) && underlay != 0) {
            const std::uint64_t inside = underlay - std::min(underlay, overhead_of(p));
            if (as_count(member(p, "mtu")) > inside) {
                out.push_back({advice, "MTU",
                               "tunnel " + name_of(p) + " takes packets of up to " +
                                   plain(member(p, "mtu")) + " bytes, of which " +
                                   std::to_string(inside) +
                                   " fit into the underlay's: guests are told so by ICMP for each "
                                   "path",
                               "straitctl port set " + name_of(p) + " --mtu " +
                                   std::to_string(inside) + ", and the same in the guests"});
            }
        }
    }
}

// The MTU that a guest was told of and took, or what it does by itself.
void examine_guest_mtu(const json::object& p, findings& out)
{
    const auto& details = as_object(member(p, "details"));
    const auto* const guests = details.if_contains("guest_mtu");
    if (guests != nullptr && as_count(*guests) != as_count(member(p, "mtu"))) {
        out.push_back({advice, "MTU",
                       "port " + name_of(p) + " has " + plain(member(p, "mtu")) +
                           ", and its guest was told " + plain(*guests) + " when it connected",
                       "in the guest: ip link set DEV mtu " + plain(member(p, "mtu")) +
                           "; it is told when it connects anew"});
    }
}

void examine_ports(const switch_report& r, findings& out)
{
    std::size_t well = 0;
    for (const auto& element : r.ports) {
        const auto& p = as_object(element);
        const auto& details = as_object(member(p, "details"));
        const std::string about = "port " + name_of(p);
        if (plain(member(p, "admin")) == "down") {
            out.push_back({advice, about, "it is switched off",
                           "straitctl port set " + name_of(p) + " --admin up"});
            continue;
        }
        if (const auto* const obstacle = details.if_contains("obstacle")) {
            out.push_back({fault, about, plain(*obstacle), "straitctl port show " + name_of(p)});
            continue;
        }
        if (const auto* const error = details.if_contains("last_error")) {
            out.push_back({fault, about, plain(*error), "straitctl port show " + name_of(p)});
            continue;
        }
        if (const auto* const connected = details.if_contains("connected");
            connected != nullptr && !is_true(*connected)) {
            const auto* const loss = details.if_contains("last_loss");
            out.push_back({advice, about,
                           "nobody is connected to it" +
                               (loss != nullptr ? "; the last one left: " + plain(*loss) : ""),
                           "a VMM with its vhost-user socket " + plain(member(details, "socket"))});
            continue;
        }
        if (plain(member(p, "link")) == "down") {
            out.push_back({advice, about, "its link is down",
                           "the cable, or the far side; of a tap, ip link set it up"});
            continue;
        }
        examine_guest_mtu(p, out);
        ++well;
    }
    if (well > 0) {
        out.push_back({good, "ports", grouped(well) + " are up", {}});
    }
}

// Guests whose large packets are cut by the CPU because a neighbour takes none.
void examine_offloads(const switch_report& r, findings& out)
{
    struct sides {
        std::vector<std::string> senders;
        std::vector<std::string> cutters;
    };
    std::map<std::string, sides> bridges;
    for (const auto& element : r.ports) {
        const auto& p = as_object(element);
        const auto& details = as_object(member(p, "details"));
        const auto* const features = details.if_contains("features");
        const auto* const offloads = details.if_contains("tx_offloads");
        const auto has = [](const json::value* list, std::string_view word) {
            return list != nullptr && list->is_array() &&
                   std::ranges::any_of(list->get_array(), [word](const json::value& one) {
                       return plain(one) == word;
                   });
        };
        sides& s = bridges[plain(member(p, "bridge"))];
        if (has(features, "host_tso4") || has(features, "gso_tcpv4")) {
            s.senders.push_back(name_of(p));
        }
        const bool guest_takes =
            features == nullptr || has(features, "guest_tso4") || has(features, "gso_tcpv4");
        const bool device_takes = offloads == nullptr || has(offloads, "segmentation");
        if (!guest_takes || !device_takes) {
            s.cutters.push_back(name_of(p));
        }
    }
    for (const auto& [bridge, s] : bridges) {
        for (const std::string& port : s.cutters) {
            if (!s.senders.empty() && (s.senders.size() > 1 || s.senders.front() != port)) {
                out.push_back({advice, "offloads",
                               "port " + port + " takes no large segments, so those of " +
                                   s.senders.front() + " are cut by the switch's CPU",
                               "a device or a guest's driver with TSO, where there is one"});
            }
        }
    }
}

void examine_workers(const switch_report& r, findings& out)
{
    std::map<std::uint64_t, std::size_t> per_cpu;
    for (const auto& element : as_array(member(r.workers, "workers"))) {
        const auto& w = as_object(element);
        const std::string about = "worker " + plain(member(w, "worker"));
        constexpr double busy = 95; // percent
        constexpr std::uint64_t long_gap = 10'000;
        if (as_number(member(w, "utilisation")) > busy) {
            out.push_back({advice, about, "it has had hardly any time left since the start",
                           "more --workers, and queues spread over them"});
        }
        if (as_count(member(w, "longest_gap_us")) > long_gap) {
            out.push_back({advice, about,
                           "something kept it from its ports for " +
                               grouped(as_count(member(w, "longest_gap_us"))) + " us once",
                           "a CPU that nobody else runs on"});
        }
        const auto about_ports = [&](const char* key, const char* but) {
            const auto& ports = as_array(member(w, key));
            if (!ports.empty()) {
                out.push_back({advice, about,
                               (ports.size() > 1 ? "ports " : "port ") + plain(member(w, key)) +
                                   " cannot wake it, so it " + but,
                               "nothing, if idle power does not matter"});
            }
        };
        about_ports("kept_awake_by", "never sleeps");
        about_ports("naps_for", "looks every 25 us while it sleeps");
        if (++per_cpu[as_count(member(w, "cpu"))] == 2) {
            out.push_back({advice, about,
                           "it shares CPU " + plain(member(w, "cpu")) + " with another one",
                           "straitd --workers with a CPU for each"});
        }
    }
    const auto& pool = as_object(member(r.workers, "pool"));
    const std::uint64_t size = as_count(member(pool, "size"));
    constexpr std::uint64_t tenth = 10;
    if (size > 0 && as_count(member(pool, "in_use")) > size - size / tenth) {
        out.push_back({fault, "packet memory",
                       grouped(as_count(member(pool, "in_use"))) + " of " + grouped(size) +
                           " buffers are in use",
                       "straitd --memory with more"});
    }
}

// Drops that tell of a configuration, and not of traffic.
void examine_drops(const switch_report& r, findings& out)
{
    static const std::set<std::string, std::less<>> telling{"vlan_not_allowed",
                                                            "untagged_not_allowed",
                                                            "tagged_not_allowed",
                                                            "bad_offload",
                                                            "ct_table_full",
                                                            "ct_zone_full",
                                                            "no_live_bucket",
                                                            "flow_too_complex",
                                                            "no_memory",
                                                            "receiver_buffer_too_small",
                                                            "tunnel_no_route",
                                                            "tunnel_too_big",
                                                            "tunnel_unknown",
                                                            "neighbour_unresolved",
                                                            "grant_error",
                                                            "receiver_malformed",
                                                            "malformed_descriptor",
                                                            "spoofed_mac",
                                                            "spoofed_ip",
                                                            "dhcp_not_trusted"};
    std::map<std::string, std::string> explained;
    for (const auto& element : as_array(member(r.drops, "reasons"))) {
        const auto& reason = as_object(element);
        explained[plain(member(reason, "name"))] = plain(member(reason, "explanation"));
    }
    for (const auto& element : as_array(member(r.drops, "ports"))) {
        const auto& p = as_object(element);
        for (const auto& one : as_object(member(p, "drops"))) {
            const std::string reason{one.key()};
            const std::uint64_t count = as_count(one.value());
            if (count > 0 && telling.contains(reason)) {
                out.push_back(
                    {advice, "port " + name_of(p),
                     grouped(count) + " packets were dropped, " + reason + ": " + explained[reason],
                     "straitctl capture " + name_of(p) + " shows such packets"});
            }
        }
    }
}

} // namespace

findings examine_switch(const switch_report& r)
{
    findings out;
    out.push_back({good,
                   "daemon",
                   "straitd " + plain(member(r.version, "version")) + ", process " +
                       plain(member(r.version, "pid")) + ", answers",
                   {}});
    examine_ports(r, out);
    examine_mtus(r, out);
    examine_offloads(r, out);
    examine_workers(r, out);
    examine_drops(r, out);
    return out;
}

host_use use_of(const switch_report& r)
{
    host_use out;
    for (const auto& element : as_array(member(r.workers, "workers"))) {
        out.worker_cpus.push_back(
            static_cast<unsigned>(as_count(member(as_object(element), "cpu"))));
    }
    out.hugepages = is_true(member(r.version, "hugepages"));
    out.physical_addresses = is_true(member(r.version, "physical_addresses"));
    out.pid = static_cast<int>(as_count(member(r.version, "pid")));
    return out;
}

} // namespace strait::control
