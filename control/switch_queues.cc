// SPDX-License-Identifier: BSD-3-Clause
// Which worker serves which queue pair of a port.
#include "control/queue_balance.hh"
#include "control/switch.hh"

#include "control/log.hh"

#include <algorithm>
#include <tuple>
#include <utility>

#include <rte_cycles.h>

namespace strait::control {

using dataplane::port_config;
using dataplane::queue_config;
using dataplane::to_index;
using dataplane::worker_index;

std::vector<queue_config> virtual_switch::assign_queues(const ports::port& device) const
{
    std::vector<std::size_t> load(engine_.worker_count(), 0);
    for (const auto& [name, p] : ports_) {
        for (const auto& queue : p.config->queues) {
            ++load[to_index(queue.worker)];
        }
    }
    // A port's own go to different workers as long as there are any: a worker transmits by one of
    // them only.
    std::vector<std::size_t> own(load.size(), 0);
    std::vector<queue_config> queues;
    for (const auto& pair : device.queues()) {
        std::size_t best = 0;
        for (std::size_t i = 1; i < load.size(); ++i) {
            if (std::tie(own[i], load[i]) < std::tie(own[best], load[best])) {
                best = i;
            }
        }
        ++own[best];
        ++load[best];
        queues.push_back({pair.rx, pair.tx, worker_index{static_cast<std::uint16_t>(best)},
                          std::make_shared<dataplane::queue_counters>()});
    }
    return queues;
}

outcome<virtual_switch::port*> virtual_switch::port_with_queue(const std::string& name,
                                                               std::size_t queue)
{
    const auto found = ports_.find(name);
    if (found == ports_.end()) {
        return find_port(name).error();
    }
    port& p = found->second;
    const std::size_t count = p.config->queues.size();
    if (queue >= count) {
        return failure{failure_kind::not_found,
                       "port " + name + " has no queue " + std::to_string(queue) +
                           (count == 0   ? "; it has none at all"
                            : count == 1 ? "; it has queue 0 alone"
                                         : "; it has queues 0 to " + std::to_string(count - 1))};
    }
    return &p;
}

outcome<void> virtual_switch::pin_queue(const std::string& name, std::size_t queue,
                                        std::size_t worker)
{
    const auto found = port_with_queue(name, queue);
    if (found.has_error()) {
        return found.error();
    }
    if (worker >= engine_.worker_count()) {
        return failure{
            failure_kind::not_found,
            "there is no worker " + std::to_string(worker) +
                (engine_.worker_count() == 1
                     ? "; there is worker 0 alone"
                     : "; there are workers 0 to " + std::to_string(engine_.worker_count() - 1))};
    }
    const worker_index to{static_cast<std::uint16_t>(worker)};
    (*found)->pins[queue] = to;
    ++version_;
    move_queues({{name, queue, (*found)->config->queues[queue].worker, to}}, "pinned");
    return {};
}

outcome<bool> virtual_switch::unpin_queue(const std::string& name, std::size_t queue)
{
    const auto found = port_with_queue(name, queue);
    if (found.has_error()) {
        return found.error();
    }
    ++version_;
    return (*found)->pins.erase(queue) != 0;
}

void virtual_switch::move_queues(const std::vector<queue_move>& moves, std::string_view why)
{
    auto next = draft();
    std::uint64_t moved = 0;
    for (const queue_move& m : moves) {
        if (m.from == m.to) {
            continue;
        }
        port& p = ports_.at(m.port);
        auto config = std::make_shared<port_config>(*p.config);
        config->queues[m.queue].worker = m.to;
        p.config = config;
        put(*next, std::move(config));
        ++moved;
    }
    if (moved == 0) {
        return;
    }
    publish(std::move(next), true);
    for (const auto& [name, b] : bridges_) {
        renew_hellos(b); // who sends them may be another worker now
    }
    if (holding_back_) { // nobody has served them yet
        return;
    }
    queue_moves_ += moved;
    for (const queue_move& m : moves) {
        if (m.from == m.to) {
            continue;
        }
        events_.add(
            event_kind::queue_moved, ports_.at(m.port).request.bridge, m.port,
            {{"queue", m.queue}, {"from", to_index(m.from)}, {"to", to_index(m.to)}, {"why", why}});
        log(log_level::info, "control",
            "port " + m.port + ": queue " + std::to_string(m.queue) + " moved from worker " +
                std::to_string(to_index(m.from)) + " to worker " + std::to_string(to_index(m.to)) +
                " (" + std::string{why} + ')');
    }
}

void virtual_switch::measure_queues()
{
    const std::uint64_t now = rte_rdtsc();
    const std::uint64_t passed = now - std::exchange(measured_at_, now);
    const auto part = [passed](std::uint64_t cycles) {
        return std::min(static_cast<double>(cycles) / static_cast<double>(passed), 1.0);
    };
    std::vector<std::uint64_t> of_queues(engine_.worker_count(), 0);
    for (auto& [name, p] : ports_) {
        const std::size_t count = p.config->queues.size();
        const bool first = p.measured_cycles.empty();
        p.measured_cycles.resize(count, 0);
        std::vector<double> loads(count, 0);
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint64_t cycles = p.config->queues[i].counters->cycles.read();
            const std::uint64_t before = std::exchange(p.measured_cycles[i], cycles);
            loads[i] = part(cycles - before);
            of_queues[to_index(p.config->queues[i].worker)] += first ? 0 : cycles - before;
        }
        p.loads = first ? std::vector<double>{} : std::move(loads);
    }
    // What others handed over, and what a worker does by itself, stays where it is.
    measured_busy_.resize(of_queues.size(), 0);
    other_loads_.resize(of_queues.size(), 0);
    for (std::size_t w = 0; w < of_queues.size(); ++w) {
        const std::uint64_t busy =
            engine_.counters(worker_index{static_cast<std::uint16_t>(w)}).busy_cycles.read();
        const std::uint64_t passed_busy = busy - std::exchange(measured_busy_[w], busy);
        other_loads_[w] = passed_busy > of_queues[w] ? part(passed_busy - of_queues[w]) : 0;
    }
}

// By what was measured last: of a port that is new nothing is known, and it stays.
std::vector<virtual_switch::queue_move> virtual_switch::plan_moves(double gain) const
{
    std::vector<queue_load> loads;
    std::vector<queue_move> places;
    for (const auto& [name, p] : ports_) {
        for (std::size_t i = 0; i < p.loads.size(); ++i) {
            const queue_config& q = p.config->queues[i];
            loads.push_back({.worker = to_index(q.worker),
                             .load = p.loads[i],
                             .stays = q.rx == nullptr || p.pins.contains(i)});
            places.push_back({name, i, q.worker, q.worker});
        }
    }
    for (std::size_t w = 0; w < other_loads_.size(); ++w) {
        loads.push_back({.worker = w, .load = other_loads_[w], .stays = true});
    }
    std::vector<queue_move> moves;
    for (const queue_step& s : plan_balance(loads, engine_.worker_count(), gain)) {
        places[s.queue].to = worker_index{static_cast<std::uint16_t>(s.to)};
        moves.push_back(places[s.queue]);
    }
    return moves;
}

outcome<std::vector<virtual_switch::queue_move>> virtual_switch::balance_queues()
{
    if (std::ranges::all_of(ports_, [](const auto& p) { return p.second.loads.empty(); })) {
        return failure{failure_kind::not_found,
                       "what queues take of their workers is measured every five seconds, and was "
                       "not yet: try again in ten"};
    }
    constexpr double any_gain = 0.01;
    std::vector<queue_move> moves = plan_moves(any_gain);
    move_queues(moves, "balance");
    return moves;
}

void virtual_switch::look_at_queues(steady_time now)
{
    constexpr std::chrono::seconds interval{5};
    if (now < next_measure_) {
        return;
    }
    next_measure_ = now + interval;
    measure_queues();
    if (!balancing_) {
        return;
    }
    std::vector<double> loads = other_loads_;
    for (const auto& [name, p] : ports_) {
        for (std::size_t i = 0; i < p.loads.size(); ++i) {
            loads[to_index(p.config->queues[i].worker)] += p.loads[i];
        }
    }
    std::vector<queue_move> moves;
    if (std::ranges::max(loads) >= busy_worker) {
        moves = plan_moves(least_gain);
    }
    // Once may be a burst of somebody's.
    constexpr unsigned enough = 2;
    unbalanced_ = moves.empty() ? 0 : unbalanced_ + 1;
    if (unbalanced_ == enough) {
        unbalanced_ = 0;
        move_queues(moves, "balance");
    }
}

} // namespace strait::control
