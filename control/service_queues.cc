// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods about queues and the workers that serve them.
#include "control/parameters.hh"
#include "control/service.hh"

#include <boost/json/array.hpp>

#include <string>

namespace strait::control {

namespace json = boost::json;
using dataplane::to_index;

namespace {

// What it dropped, of the reasons that there were, and the sums of both directions.
void put_drops(json::object& to, const queue_totals& t)
{
    json::object drops;
    std::uint64_t rx_dropped = 0;
    std::uint64_t tx_dropped = 0;
    for (std::size_t i = 0; i < dataplane::drop_reason_count; ++i) {
        if (t.drops[i] != 0) {
            const auto& reason = dataplane::drop_reasons()[i];
            (reason.ingress ? rx_dropped : tx_dropped) += t.drops[i];
            drops[reason.name] = t.drops[i];
        }
    }
    to["rx_packets"] = t.rx_packets;
    to["rx_dropped"] = rx_dropped;
    to["tx_packets"] = t.tx_packets;
    to["tx_dropped"] = tx_dropped;
    to["drops"] = std::move(drops);
}

} // namespace

void service::add_queue_methods()
{
    rpc_.add("queue.list", [this](const object& p) { return queue_list(p); });
    rpc_.add("queue.pin", [this](const object& p) { return queue_pin(p); });
    rpc_.add("queue.unpin", [this](const object& p) { return queue_unpin(p); });
    rpc_.add("queue.balance", [this](const object&) { return queue_balance(); });
}

service::result service::queue_list(const object& p) const
{
    const auto ports = chosen(p);
    if (ports.has_error()) {
        return ports.error();
    }
    constexpr double percent = 100;
    json::array list;
    for (const auto* port : *ports) {
        const std::vector<queue_totals> totals = virtual_switch::totals_of_queues(*port);
        for (std::size_t i = 0; i < port->config->queues.size(); ++i) {
            const dataplane::queue_config& q = port->config->queues[i];
            const std::size_t worker = to_index(q.worker);
            json::object one{
                {"port", port->request.name},
                {"queue", i},
                {"rx", q.rx != nullptr},
                {"tx", q.tx != nullptr},
                {"worker", worker},
                {"pinned", port->pins.contains(i)},
                {"cpu", facts_.worker_cpus[worker]},
                {"load",
                 i < port->loads.size() ? json::value(percent * port->loads[i]) : json::value{}},
                {"wakes", q.rx != nullptr ? json::value(q.rx->can_wake()) : json::value{}}};
            put_drops(one, totals[i]);
            list.push_back(std::move(one));
        }
    }
    return json::value(std::move(list));
}

service::result service::queue_pin(const object& p)
{
    const std::string port = *text_of(p, "port");
    const auto queue = static_cast<std::size_t>(*number_of(p, "queue"));
    const auto found = switch_.find_port(port);
    const std::size_t before = found.has_value() && queue < (*found)->config->queues.size()
                                   ? to_index((*found)->config->queues[queue].worker)
                                   : 0;
    const auto worker = static_cast<std::size_t>(*number_of(p, "worker"));
    if (auto done = switch_.pin_queue(port, queue, worker); done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"worker", before}});
}

service::result service::queue_unpin(const object& p)
{
    const auto done =
        switch_.unpin_queue(*text_of(p, "port"), static_cast<std::size_t>(*number_of(p, "queue")));
    if (done.has_error()) {
        return done.error();
    }
    return json::value(json::object{{"removed", *done}});
}

service::result service::queue_balance()
{
    const auto moves = switch_.balance_queues();
    if (moves.has_error()) {
        return moves.error();
    }
    json::array moved;
    for (const virtual_switch::queue_move& m : *moves) {
        moved.push_back({{"port", m.port},
                         {"queue", m.queue},
                         {"from", to_index(m.from)},
                         {"to", to_index(m.to)}});
    }
    return json::value(json::object{{"moved", std::move(moved)}});
}

} // namespace strait::control
