// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods about MAC tables, counters, workers and the daemon itself.
#include "control/names_by_index.hh"
#include "control/parameters.hh"
#include "control/service.hh"
#include "control/version.hh"

#include <boost/json/array.hpp>

#include <array>
#include <string_view>

#include <rte_cycles.h>
#include <rte_mempool.h>
#include <rte_version.h>
#include <unistd.h>

namespace strait::control {

namespace json = boost::json;
using dataplane::drop_reason_count;
using dataplane::drop_reasons;

namespace {

dataplane::mac_address mac_of(const json::object& p)
{
    return dataplane::mac_address::parse(text_of(p, "mac").value()).value();
}

std::int64_t timestamp_us()
{
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

// The six numbers that people look at first, and the drops behind two of them.
struct summary {
    std::uint64_t rx_dropped{0};
    std::uint64_t tx_dropped{0};
};

summary sum_drops(const port_totals& t)
{
    summary s;
    for (std::size_t i = 0; i < drop_reason_count; ++i) {
        (drop_reasons()[i].ingress ? s.rx_dropped : s.tx_dropped) += t.drops[i];
    }
    return s;
}

json::object drops_object(const port_totals& t)
{
    json::object drops;
    for (std::size_t i = 0; i < drop_reason_count; ++i) {
        drops[drop_reasons()[i].name] = t.drops[i];
    }
    return drops;
}

void put_counters(json::object& to, const port_totals& t)
{
    const summary s = sum_drops(t);
    to["rx_packets"] = t.rx_packets;
    to["rx_bytes"] = t.rx_bytes;
    to["rx_dropped"] = s.rx_dropped;
    to["tx_packets"] = t.tx_packets;
    to["tx_bytes"] = t.tx_bytes;
    to["tx_dropped"] = s.tx_dropped;
    to["drops"] = drops_object(t);
}

void add(port_totals& sum, const port_totals& t)
{
    sum.rx_packets += t.rx_packets;
    sum.rx_bytes += t.rx_bytes;
    sum.tx_packets += t.tx_packets;
    sum.tx_bytes += t.tx_bytes;
    for (std::size_t i = 0; i < sum.drops.size(); ++i) {
        sum.drops[i] += t.drops[i];
    }
}

} // namespace

void service::add_mac_methods()
{
    rpc_.add("mac.list", [this](const object& p) { return mac_list(p); });
    rpc_.add("mac.flush", [this](const object& p) { return mac_flush(p); });
    rpc_.add("mac.add", [this](const object& p) { return mac_add(p); });
    rpc_.add("mac.del", [this](const object& p) { return mac_del(p); });
}

void service::add_other_methods()
{
    rpc_.add("worker.list", [this](const object&) { return worker_list(); });
    rpc_.add("stats", [this](const object& p) { return stats(p); });
    rpc_.add("drops", [this](const object& p) { return drops(p); });
    rpc_.add("version", [this](const object&) { return version(); });
    rpc_.add("schema", [](const object&) -> result {
        return json::value(schema(methods(), "Strait control service"));
    });
}

service::result service::mac_list(const object& p) const
{
    const std::size_t limit = entries_asked_for(p);
    const auto bridge = text_of(p, "bridge");
    const auto port = text_of(p, "port");
    const auto asked = names_asked_for(switch_, bridge, port);
    if (asked.has_error()) {
        return asked.error();
    }
    const names_by_index& names = *asked;
    const auto vlan = number_as<std::uint16_t>(p, "vlan");
    json::array entries;
    std::size_t total = 0;
    for (const auto& item : switch_.bridges()) {
        const std::string& name = item.first;
        const virtual_switch::bridge& b = item.second;
        if (bridge && name != *bridge) {
            continue;
        }
        b.config->macs->for_each(switch_.engine().now(), [&](const dataplane::mac_entry& e) {
            const std::size_t i = dataplane::to_index(e.port);
            if (i >= names.size() || names[i] == nullptr || (vlan && e.vlan.value() != *vlan)) {
                return;
            }
            if (++total > limit) {
                return;
            }
            entries.push_back({{"bridge", name},
                               {"vlan", e.vlan.value()},
                               {"mac", e.mac.to_string()},
                               {"port", *names[i]},
                               {"static", e.is_static},
                               {"age", e.age},
                               {"held", e.held}});
        });
    }
    return json::value{{"total", total}, {"entries", std::move(entries)}};
}

service::result service::mac_flush(const object& p)
{
    auto done = switch_.flush_macs(text_of(p, "bridge"), text_of(p, "port"),
                                   number_as<std::uint16_t>(p, "vlan"));
    if (done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"flushed", true}});
}

service::result service::mac_add(const object& p)
{
    const auto done =
        switch_.add_mac(text_of(p, "port").value(), mac_of(p), number_as<std::uint16_t>(p, "vlan"));
    if (done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"replaced", *done}});
}

service::result service::mac_del(const object& p)
{
    const auto mac = mac_of(p);
    const std::string bridge = text_of(p, "bridge").value();
    const auto vlan = number_as<std::uint16_t>(p, "vlan");
    const auto done = switch_.remove_mac(bridge, mac, vlan.value_or(0));
    if (done.has_error()) {
        return done.error();
    }
    if (!*done && !is_set(p, "if_exists")) {
        return failure{failure_kind::not_found,
                       "bridge " + bridge + " does not know " + mac.to_string() +
                           (vlan ? " in VLAN " + std::to_string(*vlan) : " without a VLAN")};
    }
    return json::value(json::object{{"removed", *done}});
}

outcome<std::vector<const virtual_switch::port*>> service::chosen(const object& p) const
{
    std::vector<const virtual_switch::port*> list;
    if (const auto name = text_of(p, "name")) {
        const auto found = switch_.find_port(*name);
        if (found.has_error()) {
            return found.error();
        }
        list.push_back(*found);
        return list;
    }
    for (const auto& [name, port] : switch_.ports()) {
        list.push_back(&port);
    }
    return list;
}

service::result service::stats(const object& p)
{
    const auto ports = chosen(p);
    if (ports.has_error()) {
        return ports.error();
    }
    json::array list;
    port_totals sum;
    const std::int64_t now = timestamp_us();
    const bool clears = is_set(p, "clear");
    for (const auto* port : *ports) {
        const port_totals t =
            clears ? switch_.clear_counters(port->request.name) : switch_.since_cleared(*port);
        add(sum, t);
        json::object o{{"name", port->request.name},
                       {"number", port->number},
                       {"bridge", port->request.bridge},
                       {"link", port->device->link_up() ? "up" : "down"},
                       {"admin", port->config->admin_up ? "up" : "down"}};
        put_counters(o, t);
        list.push_back(std::move(o));
    }
    json::object total;
    put_counters(total, sum);
    return json::value{
        {"timestamp_us", now}, {"ports", std::move(list)}, {"total", std::move(total)}};
}

service::result service::drops(const object& p) const
{
    const auto ports = chosen(p);
    if (ports.has_error()) {
        return ports.error();
    }
    json::array list;
    const std::int64_t now = timestamp_us();
    for (const auto* port : *ports) {
        list.push_back(
            {{"name", port->request.name}, {"drops", drops_object(switch_.since_cleared(*port))}});
    }
    json::array reasons;
    for (const auto& r : drop_reasons()) {
        reasons.push_back({{"name", r.name},
                           {"direction", r.ingress ? "rx" : "tx"},
                           {"explanation", r.explanation}});
    }
    return json::value{
        {"timestamp_us", now}, {"ports", std::move(list)}, {"reasons", std::move(reasons)}};
}

service::result service::worker_list() const
{
    const auto& engine = switch_.engine();
    const std::uint64_t hz = rte_get_tsc_hz();
    std::vector<json::array> queues(engine.worker_count());
    std::vector<json::array> kept_awake_by(engine.worker_count());
    std::vector<json::array> naps_for(engine.worker_count());
    for (const auto& [name, p] : switch_.ports()) {
        for (std::size_t i = 0; i < p.config->queues.size(); ++i) {
            const dataplane::queue_config& q = p.config->queues[i];
            queues[dataplane::to_index(q.worker)].push_back({{"port", name}, {"queue", i}});
            if (q.rx != nullptr && !q.rx->can_wake()) {
                const bool naps = q.rx->may_wait() && !engine.busy_polls();
                json::array& ports =
                    (naps ? naps_for : kept_awake_by)[dataplane::to_index(q.worker)];
                if (ports.empty() || ports.back() != json::value(name)) {
                    ports.push_back(json::string{name});
                }
            }
        }
    }
    json::array list;
    const std::int64_t timestamp = timestamp_us();
    for (std::size_t i = 0; i < engine.worker_count(); ++i) {
        const dataplane::worker_index index{static_cast<std::uint16_t>(i)};
        const auto& c = engine.counters(index);
        const std::uint64_t busy = c.busy_cycles.read();
        const std::uint64_t idle = c.idle_cycles.read();
        const std::uint64_t asleep = c.asleep.read(rte_rdtsc_precise);
        const std::uint64_t packets = c.rx_packets.read();
        constexpr double percent = 100;
        constexpr std::uint64_t microseconds = 1'000'000;
        json::value cycles_per_packet = nullptr;
        if (packets > 0) {
            cycles_per_packet = static_cast<double>(busy) / static_cast<double>(packets);
        }
        const auto share = [all = busy + idle + asleep](std::uint64_t cycles) {
            return all > 0 ? percent * static_cast<double>(cycles) / static_cast<double>(all) : 0.0;
        };
        list.push_back({{"worker", i},
                        {"cpu", facts_.worker_cpus[i]},
                        {"lcore", engine.lcore(index)},
                        {"queues", std::move(queues[i])},
                        {"kept_awake_by", std::move(kept_awake_by[i])},
                        {"naps_for", std::move(naps_for[i])},
                        {"busy_cycles", busy},
                        {"idle_cycles", idle},
                        {"asleep_cycles", asleep},
                        {"naps", c.naps.read()},
                        {"late_naps", c.late_naps.read()},
                        {"iterations", c.iterations.read()},
                        {"rx_packets", packets},
                        {"tx_packets", c.tx_packets.read()},
                        {"handed_over", c.handed_over.read()},
                        {"mac_table_full", c.mac_table_full.read()},
                        {"longest_gap_us", c.longest_gap.read() * microseconds / hz},
                        {"cycles_per_packet", std::move(cycles_per_packet)},
                        {"utilisation", share(busy)},
                        {"asleep", share(asleep)}});
    }
    const rte_mempool& pool = *engine.pool();
    return json::value{{"timestamp_us", timestamp},
                       {"tsc_hz", hz},
                       {"pool", {{"size", pool.size}, {"in_use", rte_mempool_in_use_count(&pool)}}},
                       {"workers", std::move(list)}};
}

service::result service::version() const
{
    std::string_view dpdk = rte_version();
    constexpr std::string_view prefix = "DPDK ";
    if (dpdk.starts_with(prefix)) {
        dpdk.remove_prefix(prefix.size());
    }
    const auto uptime =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start_);
    return json::value{{"version", control::version()},
                       {"dpdk", dpdk},
                       {"pid", ::getpid()},
                       {"hugepages", facts_.hugepages},
                       {"physical_addresses", facts_.physical_addresses},
                       {"uptime_s", uptime.count()}};
}

} // namespace strait::control
