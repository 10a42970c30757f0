// SPDX-License-Identifier: BSD-3-Clause
// Shaping of ports: what may be shaped, and how much may wait.
#include "control/log.hh"
#include "control/switch.hh"
#include "dataplane/shaper.hh"

#include <rte_cycles.h>
#include <rte_mempool.h>

#include <algorithm>

namespace strait::control {

using dataplane::shaping;

namespace {

std::uint64_t most_waiting(const shaping& s)
{
    std::uint64_t all = 0;
    for (const auto& c : s.classes) {
        all += c && s.kbps != 0 ? c->limit : 0;
    }
    return all;
}

std::string rate(std::uint64_t kbps)
{
    return std::to_string(kbps) + " kbit/s";
}

} // namespace

std::optional<failure> virtual_switch::not_to_be_shaped(const port_request& request)
{
    if (request.type == "nic" || request.type == "bond") {
        return std::nullopt;
    }
    return failure{
        failure_kind::invalid,
        "port " + request.name + " is of type " + request.type +
            ", and packets wait for a rate towards a NIC alone; here what is too much is "
            "dropped: port set " +
            request.name + " --egress-rate KBPS"};
}

// Nothing if the port may be shaped so.
std::optional<failure> virtual_switch::refuse_shaping(const port_request& request,
                                                      const shaping& s) const
{
    const auto invalid = [&request](const std::string& why) {
        return failure{failure_kind::invalid, "port " + request.name + ": " + why};
    };
    if (auto cannot = not_to_be_shaped(request)) {
        return cannot;
    }
    if (s.kbps == 0) {
        return std::nullopt;
    }
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < s.classes.size(); ++i) {
        const auto& c = s.classes[i];
        if (!c) {
            continue;
        }
        sum += c->rate_kbps;
        if (c->ceil_kbps != 0 && c->ceil_kbps < c->rate_kbps) {
            return invalid("class " + std::to_string(i) + " has a rate of " + rate(c->rate_kbps) +
                           ", more than its ceil of " + rate(c->ceil_kbps));
        }
    }
    if (sum > s.kbps) {
        return invalid("the rates of its classes are " + rate(sum) +
                       " together, more than its --shape-rate of " + rate(s.kbps));
    }
    std::uint64_t packets = most_waiting(s);
    for (const auto& [name, p] : ports_) {
        packets += p.shaper && name != request.name ? most_waiting(p.shaper->settings()) : 0;
    }
    const std::uint64_t room = engine_.pool() == nullptr ? packets : engine_.pool()->size / 2;
    if (packets > room) {
        return invalid("with what the classes of all ports may have waiting, " +
                       std::to_string(packets) + " packets, more than half of the packet pool (" +
                       std::to_string(room) +
                       ") could be taken; lower the limit of a class that has little need of "
                       "it (shaper set PORT CLASS --limit N), or start straitd with more --memory");
    }
    return std::nullopt;
}

// Null: there is no rate.
std::shared_ptr<dataplane::shaper>
virtual_switch::make_shaper(const std::vector<dataplane::queue_config>& queues, const shaping& s)
{
    return s.kbps == 0 || queues.empty() || queues.front().tx == nullptr
               ? nullptr
               : std::make_shared<dataplane::shaper>(*queues.front().tx, s, rte_get_tsc_hz(),
                                                     rte_rdtsc());
}

// When no worker serves the port any more.
std::string virtual_switch::waited_in_vain(const port& p)
{
    std::uint64_t packets = 0;
    for (std::size_t i = 0; p.shaper && i < dataplane::shaper_classes; ++i) {
        packets += p.shaper->counters(i).waiting_packets.read();
    }
    return packets == 0
               ? ""
               : "; packets that waited for its rate and went with it: " + std::to_string(packets);
}

// Of a port that has a rate.
outcome<void> virtual_switch::set_shaping(const std::string& name, const shaping& to)
{
    const auto found = ports_.find(name);
    if (found == ports_.end()) {
        return find_port(name).error();
    }
    port& p = found->second;
    if (auto why = refuse_shaping(p.request, to)) {
        return std::move(*why);
    }
    p.shaper->set(to);
    engine_.wake_workers(); // who waits for what was the next release
    log(log_level::info, "control", "port " + name + ": its classes changed");
    return {};
}

} // namespace strait::control
