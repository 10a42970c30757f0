// SPDX-License-Identifier: BSD-3-Clause
// Starting and stopping workers; publication.
#include "dataplane/engine.hh"

#include "dataplane/worker.hh"

#include <stdexcept>
#include <string>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_mbuf.h>

namespace strait::dataplane {

engine::engine(engine_settings settings)
    : settings_{std::move(settings)}, start_tsc_{rte_rdtsc()}, tsc_hz_{rte_get_tsc_hz()}
{
    const std::size_t count = settings_.lcores.size();
    if (count == 0 || count > max_workers) {
        throw std::runtime_error{"a switch needs 1 to " + std::to_string(max_workers) +
                                 " workers, not " + std::to_string(count)};
    }
    if (settings_.pool == nullptr || rte_pktmbuf_priv_size(settings_.pool) < handover_area) {
        throw std::runtime_error{"the packet pool lacks a private area of " +
                                 std::to_string(handover_area) + " bytes an mbuf"};
    }
    connections_ = std::make_unique<conntrack::store>(conntrack::store_settings{
        .connections = settings_.connections, .workers = static_cast<unsigned>(count)});
    current_.store(new published{std::make_unique<const snapshot>(), *this});
    for (std::size_t i = 0; i < count; ++i) {
        workers_.push_back(
            std::make_unique<worker>(*this, worker_index{static_cast<std::uint16_t>(i)}, count));
    }
    for (std::size_t i = 0; i < count; ++i) {
        const int error = rte_eal_remote_launch(
            [](void* w) {
                static_cast<worker*>(w)->run();
                return 0;
            },
            workers_[i].get(), settings_.lcores[i]);
        if (error != 0) {
            stop();
            throw std::runtime_error{"worker " + std::to_string(i) + " did not start on lcore " +
                                     std::to_string(settings_.lcores[i]) + ": " +
                                     rte_strerror(-error)};
        }
    }
}

engine::~engine()
{
    stop();
}

void engine::stop() noexcept
{
    for (const auto& w : workers_) {
        w->stop();
    }
    rcu_.wake_all();
    for (const unsigned lcore : settings_.lcores) {
        rte_eal_wait_lcore(lcore);
    }
    for (const auto& w : workers_) {
        static_cast<void>(w->ended());
    }
    workers_.clear();
    delete current_.exchange(nullptr);
}

void engine::publish(std::unique_ptr<const snapshot> next)
{
    auto* const fresh = new published{std::move(next), *this};
    const published* const old = current_.exchange(fresh, std::memory_order_acq_rel);
    rcu_.wake_all();
    rcu_.synchronize();
    // A worker that may sleep by the new plan, and does, may have been handed packets by one that
    // did not ring, since by the old plan it need not. And one that sleeps still may keep open
    // what a port that went is about to close.
    rcu_.rouse_all();
    delete old;
}

const snapshot& engine::current() const noexcept
{
    return *current_.load(std::memory_order_acquire)->config;
}

seconds_t engine::now() const noexcept
{
    return static_cast<seconds_t>((rte_rdtsc() - start_tsc_) / tsc_hz_);
}

const worker_counters& engine::counters(worker_index worker) const noexcept
{
    return workers_[to_index(worker)]->counters();
}

const port_counters& engine::counters(worker_index worker, port_index port) const noexcept
{
    return workers_[to_index(worker)]->counters(port);
}

const flow::cache& engine::flow_cache(worker_index worker) const noexcept
{
    return workers_[to_index(worker)]->flow_cache();
}

flow::cache& engine::flow_cache(worker_index worker) noexcept
{
    return workers_[to_index(worker)]->flow_cache();
}

conntrack::tracker& engine::tracker(worker_index worker) noexcept
{
    return workers_[to_index(worker)]->tracker();
}

unsigned engine::lcore(worker_index worker) const noexcept
{
    return settings_.lcores[to_index(worker)];
}

} // namespace strait::dataplane
