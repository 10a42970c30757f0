// SPDX-License-Identifier: BSD-3-Clause
// Tables.
#include "control/print.hh"

#include "control/print_acls.hh"
#include "control/print_bindings.hh"
#include "control/print_config.hh"
#include "control/print_connections.hh"
#include "control/print_endpoints.hh"
#include "control/print_events.hh"
#include "control/print_flows.hh"
#include "control/print_groups.hh"
#include "control/print_mirrors.hh"
#include "control/print_multicast.hh"
#include "control/print_options.hh"
#include "control/print_parts.hh"
#include "control/print_shaper.hh"
#include "control/print_tree.hh"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>
#include <vector>

namespace strait::control {

namespace json = boost::json;

namespace {

// 10,20-29 for a list of VLANs.
std::string vlan_ranges(const json::array& vlans)
{
    std::string out;
    for (std::size_t i = 0; i < vlans.size();) {
        const std::uint64_t first = as_count(vlans[i]);
        std::uint64_t last = first;
        for (++i; i < vlans.size() && as_count(vlans[i]) == last + 1; ++i) {
            ++last;
        }
        out += out.empty() ? "" : ",";
        out += std::to_string(first);
        if (last > first) {
            out += '-';
            out += std::to_string(last);
        }
    }
    return out;
}

std::string vlan_text(const json::object& port)
{
    if (member(port, "vlan").is_number()) {
        return std::to_string(as_count(member(port, "vlan")));
    }
    if (member(port, "qinq").is_number()) {
        return "qinq " + std::to_string(as_count(member(port, "qinq")));
    }
    if (member(port, "trunk").is_array()) {
        const auto& native = member(port, "native");
        return "trunk " + vlan_ranges(member(port, "trunk").get_array()) +
               (native.is_number() ? " native " + std::to_string(as_count(native)) : "") +
               (member(port, "tag_type") == json::value("802.1ad") ? " 802.1ad" : "");
    }
    return "-";
}

std::string bridges_text(const json::value& result)
{
    text_table t{{"BRIDGE", "MACS", "TABLE", "AGEING", "BPDU", "PORTS"}};
    t.align_right(1, 3);
    for (const auto& element : as_array(result)) {
        const auto& b = as_object(element);
        const auto ageing = as_count(member(b, "mac_ageing"));
        t.add({plain(member(b, "name")), grouped(as_count(member(b, "macs"))),
               grouped(as_count(member(b, "mac_table_size"))),
               ageing == 0 ? "never" : grouped(ageing) + " s",
               member(b, "forward_bpdu") == json::value(true) ? "forward" : "drop",
               as_array(member(b, "ports")).empty() ? "-" : plain(member(b, "ports"))});
    }
    return t.text();
}

std::string ports_text(const json::value& result)
{
    text_table t{{"PORT", "NUMBER", "BRIDGE", "TYPE", "ADMIN", "LINK", "MTU", "VLAN"}};
    t.align_right(1, 1).align_right(6, 6);
    for (const auto& element : as_array(result)) {
        const auto& p = as_object(element);
        t.add({plain(member(p, "name")), plain(member(p, "number")), plain(member(p, "bridge")),
               plain(member(p, "type")), plain(member(p, "admin")), plain(member(p, "link")),
               plain(member(p, "mtu")), vlan_text(p)});
    }
    return t.text();
}

using name_and_value = std::pair<std::string, std::string>;

std::string lines_text(const std::vector<name_and_value>& lines)
{
    std::size_t width = 0;
    for (const auto& [key, value] : lines) {
        width = std::max(width, key.size());
    }
    std::string out;
    for (const auto& [key, value] : lines) {
        std::string shown = key;
        std::replace(shown.begin(), shown.end(), '_', ' ');
        out += shown + std::string(width - key.size() + 2, ' ') + value + "\n";
    }
    return out;
}

// Of a MAC or an address that was seen behind a port.
std::string when_text(const json::object& seen)
{
    const auto vlan = as_count(member(seen, "vlan"));
    return (vlan == 0 ? "" : ", VLAN " + std::to_string(vlan)) +
           (member(seen, "static") == json::value(true)
                ? ", static"
                : ", " + grouped(as_count(member(seen, "age"))) + " s ago");
}

std::string port_text(const json::object& p)
{
    std::vector<name_and_value> lines;
    for (const auto* name : {"name", "number", "bridge", "type", "admin", "link", "mtu"}) {
        lines.emplace_back(name, plain(member(p, name)));
    }
    lines.emplace_back("vlan", vlan_text(p));
    for (const auto* name : {"isolated", "port_security", "dhcp_trust"}) {
        if (member(p, name) == json::value(true)) {
            lines.emplace_back(name, "on");
        }
    }
    const auto& seen = as_object(member(p, "seen"));
    const auto& macs = as_array(member(seen, "macs"));
    for (const auto& element : macs) {
        const auto& m = as_object(element);
        lines.emplace_back("seen_mac", plain(member(m, "mac")) + when_text(m));
    }
    if (const auto total = as_count(member(seen, "total_macs")); total > macs.size()) {
        lines.emplace_back("seen_mac", grouped(total - macs.size()) + " more: mac list --port " +
                                           plain(member(p, "name")));
    }
    for (const auto& element : as_array(member(seen, "addresses"))) {
        const auto& a = as_object(element);
        lines.emplace_back("seen_address", plain(member(a, "address")) + " of " +
                                               plain(member(a, "mac")) + when_text(a));
    }
    for (const auto& [key, value] : as_object(member(p, "options"))) {
        lines.emplace_back(key, plain(value));
    }
    for (const auto& element : as_array(member(p, "queues"))) {
        const auto& q = as_object(element);
        lines.emplace_back("queue " + plain(member(q, "queue")),
                           "worker " + plain(member(q, "worker")));
    }
    for (const auto& [key, value] : as_object(member(p, "details"))) {
        // A port may tell again what it was made with.
        name_and_value line{key, plain(value)};
        if (std::find(lines.begin(), lines.end(), line) == lines.end()) {
            lines.push_back(std::move(line));
        }
    }
    return lines_text(lines);
}

std::string xen_text(const json::object& result)
{
    if (member(result, "hypervisor").is_null()) {
        return "no hypervisor: Xen guests cannot be served here\n";
    }
    text_table t{{"VIF", "MAC", "BRIDGE", "PORT", "ERROR"}};
    for (const auto& element : as_array(member(result, "vifs"))) {
        const auto& v = as_object(element);
        t.add({plain(member(v, "vif")), plain(member(v, "mac")), plain(member(v, "bridge")),
               plain(member(v, "port")), plain(member(v, "error"))});
    }
    return t.text();
}

std::string macs_text(const json::object& result)
{
    text_table t{{"BRIDGE", "VLAN", "MAC", "PORT", "AGE", "HELD"}};
    t.align_right(1, 1).align_right(4, 5);
    const auto& entries = as_array(member(result, "entries"));
    for (const auto& element : entries) {
        const auto& e = as_object(element);
        const auto vlan = as_count(member(e, "vlan"));
        const auto held = as_count(member(e, "held"));
        t.add({plain(member(e, "bridge")), vlan == 0 ? "-" : std::to_string(vlan),
               plain(member(e, "mac")), plain(member(e, "port")),
               member(e, "static") == json::value(true) ? "static" : plain(member(e, "age")) + " s",
               held == 0 ? "-" : grouped(held) + " s"});
    }
    const auto total = as_count(member(result, "total"));
    return t.text() + (total > entries.size()
                           ? grouped(total - entries.size()) + " more: --limit, --port or --vlan\n"
                           : "");
}

std::string stats_text(const json::object& result)
{
    const bool rates = result.contains("interval_s");
    const auto cells = [&](const json::object& p, std::string name, std::string link) {
        std::vector<std::string> row{std::move(name), std::move(link)};
        for (const auto* side : {"rx", "tx"}) {
            const std::string s{side};
            if (rates) {
                row.push_back(scaled(as_number(member(p, s + "_pps")), "pps"));
                row.push_back(scaled(as_number(member(p, s + "_bps")), "bit/s"));
                row.push_back(scaled(as_number(member(p, s + "_drop_pps")), "pps"));
            } else {
                row.push_back(grouped(as_count(member(p, s + "_packets"))));
                row.push_back(grouped(as_count(member(p, s + "_bytes"))));
                row.push_back(grouped(as_count(member(p, s + "_dropped"))));
            }
        }
        return row;
    };
    text_table t{rates ? std::vector<std::string>{"PORT", "LINK", "RX", "RX BITS", "RX DROPPED",
                                                  "TX", "TX BITS", "TX DROPPED"}
                       : std::vector<std::string>{"PORT", "LINK", "RX PACKETS", "RX BYTES",
                                                  "RX DROPPED", "TX PACKETS", "TX BYTES",
                                                  "TX DROPPED"}};
    t.align_right(2, 7);
    const auto& list = as_array(member(result, "ports"));
    for (const auto& element : list) {
        const auto& p = as_object(element);
        t.add(cells(p, plain(member(p, "name")), plain(member(p, "link"))));
    }
    if (list.size() > 1) {
        t.add(cells(as_object(member(result, "total")), "total", ""));
    }
    return t.text();
}

std::string drops_text(const json::object& result)
{
    text_table t{{"PORT", "DIRECTION", "PACKETS", "REASON", "MEANING"}};
    t.align_right(2, 2);
    bool any = false;
    for (const auto& element : as_array(member(result, "ports"))) {
        const auto& p = as_object(element);
        const auto& drops = as_object(member(p, "drops"));
        for (const auto& r : as_array(member(result, "reasons"))) {
            const auto& reason = as_object(r);
            const std::string name = plain(member(reason, "name"));
            const auto count = as_count(member(drops, name));
            if (count > 0) {
                any = true;
                t.add({plain(member(p, "name")), plain(member(reason, "direction")), grouped(count),
                       name, plain(member(reason, "explanation"))});
            }
        }
    }
    return any ? t.text() : "no packet was dropped\n";
}

std::string queues_text(const json::array& queues)
{
    text_table t{{"PORT", "QUEUE", "DIRECTION", "WORKER", "CPU", "LOAD", "WAKES", "RX PACKETS",
                  "RX DROPPED", "TX PACKETS", "TX DROPPED", "DROPS"}};
    t.align_right(1, 1).align_right(4, 5).align_right(7, 10);
    for (const auto& element : queues) {
        const auto& q = as_object(element);
        const bool rx = member(q, "rx") == json::value(true);
        const bool tx = member(q, "tx") == json::value(true);
        const auto& wakes = member(q, "wakes");
        std::string reasons;
        for (const auto& [name, count] : as_object(member(q, "drops"))) {
            reasons += (reasons.empty() ? "" : ", ") + std::string{std::string_view{name}} + ' ' +
                       grouped(as_count(count));
        }
        t.add({plain(member(q, "port")), plain(member(q, "queue")),
               rx && tx ? "rx tx"
               : rx     ? "rx"
                        : "tx",
               plain(member(q, "worker")) +
                   (member(q, "pinned") == json::value(true) ? " (pinned)" : ""),
               plain(member(q, "cpu")),
               member(q, "load").is_null() ? "-" : fixed(as_number(member(q, "load")), 1) + " %",
               wakes.is_null()              ? "-"
               : wakes == json::value(true) ? "yes"
                                            : "no, polled",
               grouped(as_count(member(q, "rx_packets"))),
               grouped(as_count(member(q, "rx_dropped"))),
               grouped(as_count(member(q, "tx_packets"))),
               grouped(as_count(member(q, "tx_dropped"))), reasons.empty() ? "-" : reasons});
    }
    return t.text();
}

std::string moves_text(const json::array& moved)
{
    std::string out;
    for (const auto& element : moved) {
        const auto& m = as_object(element);
        out += "queue " + plain(member(m, "queue")) + " of port " + plain(member(m, "port")) +
               " moved from worker " + plain(member(m, "from")) + " to worker " +
               plain(member(m, "to")) + '\n';
    }
    return out.empty() ? "nothing moved: no worker would have noticeably less to do\n" : out;
}

std::string workers_text(const json::object& result)
{
    text_table t{{"WORKER", "CPU", "BUSY", "ASLEEP", "CYCLES/PACKET", "RX PACKETS", "TX PACKETS",
                  "HANDED OVER", "LONGEST GAP", "QUEUES"}};
    t.align_right(0, 8);
    std::string notes;
    for (const auto& element : as_array(member(result, "workers"))) {
        const auto& w = as_object(element);
        if (const auto& ports = member(w, "kept_awake_by"); !as_array(ports).empty()) {
            notes += "worker " + plain(member(w, "worker")) + " never sleeps: " + plain(ports) +
                     " cannot wake it\n";
        }
        if (const auto& ports = member(w, "naps_for"); !as_array(ports).empty()) {
            notes += "worker " + plain(member(w, "worker")) +
                     " looks every 25 us while it sleeps: " + plain(ports) + " cannot wake it; " +
                     grouped(as_count(member(w, "late_naps"))) + " of " +
                     grouped(as_count(member(w, "naps"))) + " looks were late\n";
        }
        std::string queues;
        for (const auto& q : as_array(member(w, "queues"))) {
            queues += (queues.empty() ? "" : " ") + plain(member(as_object(q), "port")) + "/" +
                      plain(member(as_object(q), "queue"));
        }
        t.add({plain(member(w, "worker")), plain(member(w, "cpu")),
               fixed(as_number(member(w, "utilisation")), 1) + " %",
               fixed(as_number(member(w, "asleep")), 1) + " %",
               member(w, "cycles_per_packet").is_null()
                   ? "-"
                   : fixed(as_number(member(w, "cycles_per_packet")), 1),
               grouped(as_count(member(w, "rx_packets"))),
               grouped(as_count(member(w, "tx_packets"))),
               grouped(as_count(member(w, "handed_over"))),
               grouped(as_count(member(w, "longest_gap_us"))) + " us",
               queues.empty() ? "-" : queues});
    }
    const auto& pool = as_object(member(result, "pool"));
    return t.text() + notes + "packet pool: " + grouped(as_count(member(pool, "in_use"))) + " of " +
           grouped(as_count(member(pool, "size"))) + " buffers in use\n";
}

std::string version_text(const json::object& v)
{
    return "straitd " + plain(member(v, "version")) + ", DPDK " + plain(member(v, "dpdk")) +
           ", process " + plain(member(v, "pid")) + ", up " +
           grouped(as_count(member(v, "uptime_s"))) + " s, " +
           (member(v, "hugepages") == json::value(true) ? "on huge pages" : "without huge pages") +
           (member(v, "physical_addresses") == json::value(true) ? " at physical addresses" : "") +
           "\n";
}

std::string memory_text(const json::value& bytes)
{
    constexpr std::uint64_t mib = std::uint64_t{1} << 20U;
    return grouped(as_count(bytes) / mib) + " MiB";
}

std::string vms_text(const json::value& result)
{
    text_table t{{"VM", "STATE", "PROCESS", "CPUS", "MEMORY", "UPTIME", "END"}};
    t.align_right(2, 5);
    for (const auto& element : as_array(result)) {
        const auto& v = as_object(element);
        const auto& info = as_object(member(v, "info"));
        const bool told = !info.empty();
        t.add({plain(member(v, "name")), plain(member(v, "state")), plain(member(v, "pid")),
               plain(member(info, "cpus")), told ? memory_text(member(info, "memory")) : "-",
               told ? grouped(as_count(member(info, "uptime_s"))) + " s" : "-",
               plain(member(v, "ended"))});
    }
    return t.text();
}

// Members of an object as one line: a 1, b 2, c x y.
std::string inline_text(const json::object& o)
{
    std::string out;
    for (const auto& [key, value] : o) {
        std::string name{key};
        std::replace(name.begin(), name.end(), '_', ' ');
        out += (out.empty() ? "" : ", ") + name;
        if (const auto* all = value.if_array()) {
            for (const auto& element : *all) {
                out += ' ' + plain(element);
            }
        } else {
            out += ' ' + plain(value);
        }
    }
    return out;
}

std::string vm_text(const json::object& v)
{
    std::vector<name_and_value> lines;
    for (const auto* name : {"name", "state", "pid", "ended"}) {
        lines.emplace_back(name, plain(member(v, name)));
    }
    for (const auto* part : {"info", "stats"}) {
        for (const auto& [key, value] : as_object(member(v, part))) {
            if (v.contains(key)) {
                continue;
            }
            if (value.is_array()) {
                for (const auto& element : value.get_array()) {
                    lines.emplace_back(key, inline_text(as_object(element)));
                }
            } else {
                lines.emplace_back(key, key == "memory"     ? memory_text(value)
                                        : value.is_object() ? inline_text(value.get_object())
                                                            : plain(value));
            }
        }
    }
    return lines_text(lines);
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 6> port_rates = {{
    {"rx_packets", "rx_pps"},
    {"rx_bytes", "rx_bps"},
    {"rx_dropped", "rx_drop_pps"},
    {"tx_packets", "tx_pps"},
    {"tx_bytes", "tx_bps"},
    {"tx_dropped", "tx_drop_pps"},
}};

// A counter that went back was cleared, or belongs to a new port of the same name: it counts from
// zero.
std::uint64_t difference(const json::object& now, const json::object& before, std::string_view name)
{
    const auto a = as_count(member(before, name));
    const auto b = as_count(member(now, name));
    return b >= a ? b - a : b;
}

const json::object& same(const json::array& list, const json::object& as, std::string_view key)
{
    for (const auto& element : list) {
        if (member(as_object(element), key) == member(as, key)) {
            return as_object(element);
        }
    }
    static const json::object none;
    return none;
}

void add_port_rates(json::object& result, const json::object& before, double seconds)
{
    constexpr double bits = 8;
    json::object sums;
    for (auto& element : result["ports"].as_array()) {
        auto& p = element.as_object();
        const auto& old = same(as_array(member(before, "ports")), p, "number");
        for (const auto& [counter, rate] : port_rates) {
            // A port that was not there before has no rate yet.
            const double n = old.empty() ? 0.0 : static_cast<double>(difference(p, old, counter));
            const double value = n * (counter.ends_with("_bytes") ? bits : 1.0) / seconds;
            p[rate] = value;
            sums[rate] = as_number(member(sums, rate)) + value;
        }
    }
    auto& total = result["total"].as_object();
    for (const auto& [counter, rate] : port_rates) {
        total[rate] = as_number(member(sums, rate));
    }
}

void add_worker_rates(json::object& result, const json::object& before)
{
    constexpr double percent = 100;
    for (auto& element : result["workers"].as_array()) {
        auto& w = element.as_object();
        const auto& old = same(as_array(member(before, "workers")), w, "worker");
        const auto busy = static_cast<double>(difference(w, old, "busy_cycles"));
        const auto idle = static_cast<double>(difference(w, old, "idle_cycles"));
        const auto packets = static_cast<double>(difference(w, old, "rx_packets"));
        const auto asleep = static_cast<double>(difference(w, old, "asleep_cycles"));
        const double all = busy + idle + asleep;
        w["utilisation"] = all > 0 ? percent * busy / all : 0.0;
        w["asleep"] = all > 0 ? percent * asleep / all : 0.0;
        w["cycles_per_packet"] = packets > 0 ? json::value(busy / packets) : json::value(nullptr);
    }
}

} // namespace

std::string to_text(const method& m, const json::value& result)
{
    if (m.name == "bridge.list") {
        return bridges_text(result);
    }
    if (m.name == "port.list") {
        return ports_text(result);
    }
    if (m.name == "port.show") {
        return port_text(as_object(result));
    }
    if (m.name == "mac.list") {
        return macs_text(as_object(result));
    }
    if (m.name == "rstp.show") {
        return trees_text(result);
    }
    if (m.name == "mcast.list") {
        return groups_of_multicast_text(as_object(result));
    }
    if (m.name == "binding.list") {
        return bindings_text(as_array(result));
    }
    if (m.name == "address.list" || m.name == "route.list" || m.name == "neighbour.list") {
        return endpoints_text(m, as_array(result));
    }
    if (m.name == "xen.list") {
        return xen_text(as_object(result));
    }
    if (m.name == "stats") {
        return stats_text(as_object(result));
    }
    if (m.name == "events") {
        return events_text(as_object(result));
    }
    if (m.name == "drops") {
        return drops_text(as_object(result));
    }
    if (m.name == "queue.list") {
        return queues_text(as_array(result));
    }
    if (m.name == "queue.balance") {
        return moves_text(as_array(member(as_object(result), "moved")));
    }
    if (m.name == "worker.list") {
        return workers_text(as_object(result));
    }
    if (m.name == "version") {
        return version_text(as_object(result));
    }
    if (m.name == "vm.list") {
        return vms_text(result);
    }
    if (m.name == "vm.show") {
        return vm_text(as_object(result));
    }
    if (m.name.starts_with("flow.") || m.name == "trace" || m.name == "cache.stats") {
        return flow_text(m, as_object(result));
    }
    if (m.name.starts_with("group.") || m.name.starts_with("meter.")) {
        return group_text(m, as_object(result));
    }
    if (m.name == "tlv-map.list") {
        return options_text(as_object(result));
    }
    if (m.name == "mirror.list") {
        return mirrors_text(result);
    }
    if (m.name == "shaper.list") {
        return shapers_text(result);
    }
    if (m.name.starts_with("acl.")) {
        return acl_text(m, result);
    }
    if (m.name.starts_with("config.")) {
        return config_result_text(m, result);
    }
    if (m.name.starts_with("ct.")) {
        return connections_text(m, as_object(result));
    }
    if (m.changes) {
        return {};
    }
    return json::serialize(result) + "\n";
}

std::string warnings_text(const json::value& result)
{
    std::string out;
    for (const auto& warning : as_array(member(as_object(result), "warnings"))) {
        out += "straitctl: warning: " + plain(warning) + "\n";
    }
    return out;
}

void add_rates(const method& m, json::value& now, const json::value& before)
{
    constexpr double microseconds = 1e6;
    constexpr double shortest = 1e-6;
    auto& result = now.as_object();
    const auto& old = as_object(before);
    const double seconds = std::max(shortest, (as_number(member(result, "timestamp_us")) -
                                               as_number(member(old, "timestamp_us"))) /
                                                  microseconds);
    if (m.name == "stats") {
        add_port_rates(result, old, seconds);
    } else {
        add_worker_rates(result, old);
    }
    result["interval_s"] = seconds;
}

} // namespace strait::control
