// SPDX-License-Identifier: BSD-3-Clause
#include "control/trace_tunnels.hh"

#include <utility>

#include <rte_cycles.h>

namespace strait::control {

using dataplane::port_config;
using dataplane::port_index;

namespace {

// Keeps what is ready, as bytes.
class collector final : public tunnel::continuation {
public:
    collector(tunnel::ready_packets& ready, const tunnel::notes& notes, std::size_t depth,
              std::vector<trace_tunnels::carried>& out) noexcept
        : ready_{ready}, notes_{notes}, depth_{depth}, out_{out}
    {}
    void go_on() noexcept override
    {
        for (std::size_t i = 0; i < ready_.count; ++i) {
            const dataplane::packet_slot& p = *ready_.packets[i];
            out_.push_back(
                {bytes_of(p), ready_.from[i], trace_tunnels::tunnel_of(p, notes_), depth_});
        }
        ready_.count = 0;
        ready_.clear();
    }

private:
    tunnel::ready_packets& ready_;
    const tunnel::notes& notes_;
    std::size_t depth_;
    std::vector<trace_tunnels::carried>& out_;
};

} // namespace

trace_tunnels::trace_tunnels(dataplane::engine& engine, dataplane::port_counters* counters)
    : engine_{engine},
      counters_{counters},
      known_{copy_of(engine)},
      carrier_{*known_, rte_get_tsc_hz()}
{}

std::optional<flow::key> trace_tunnels::tunnel_of(const dataplane::packet& p,
                                                  const tunnel::notes& from) noexcept
{
    if ((p.note & dataplane::packet_note::tunnel) == tunnel::notes::none) {
        return {};
    }
    flow::key k;
    from.read(p.note, k);
    return k;
}

std::unique_ptr<endpoint::neighbours> trace_tunnels::copy_of(dataplane::engine& engine)
{
    auto out = std::make_unique<endpoint::neighbours>();
    const dataplane::seconds_t now = engine.now();
    engine.neighbours().for_each(now, [&](const endpoint::neighbours::listed& n) {
        if (!n.mac.is_zero()) {
            (void)out->use(n.who, now);
            out->learn(n.who, n.mac, now);
        }
    });
    return out;
}

bool trace_tunnels::take(const carried& what, port_index in, std::vector<carried>& out)
{
    const dataplane::snapshot& config = engine_.current();
    port_config to = *config.port(what.at);
    if (to.tunnel && to.tunnel->next_sequence) { // which numbers packets that are sent
        auto own = std::make_shared<tunnel::settings>(*to.tunnel);
        own->next_sequence = std::make_shared<std::atomic<std::uint32_t>>(
            to.tunnel->next_sequence->load(std::memory_order_relaxed));
        to.tunnel = std::move(own);
    }
    notes().clear();
    traced_frame frame{what.frame};
    dataplane::packet_slot& p = frame.get();
    p.destinations = 1;
    p.in_port = in;
    p.note = what.tunnel ? notes().add(*what.tunnel) : tunnel::notes::none;
    dataplane::packet* const one[] = {&p};
    collector next{*ready_, notes(), what.depth + 1, out};
    const bool waited = !carrier_.idle();
    carrier_.take(one, to,
                  {config, engine_.now(), rte_rdtsc(), engine_.pool(), counters_, *ready_, next});
    next.go_on();
    return waited || carrier_.idle();
}

} // namespace strait::control
