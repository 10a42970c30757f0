// SPDX-License-Identifier: BSD-3-Clause
// Starting and stopping workers; publication.
#include "dataplane/engine.hh"

#include "dataplane/worker.hh"

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

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
    swap(std::make_unique<published>(std::move(next), *this));
}

// A worker that says that it is quiescent after the gate has changed looks at the gate before it
// does anything else.
void engine::publish_moved(std::unique_ptr<const snapshot> next)
{
    auto fresh = std::make_unique<published>(std::move(next), *this);
    gate_.store(gate::inboxes);
    rcu_.wake_all();
    rcu_.synchronize();
    // What goes round in tunnels, from worker to worker, is not waited for without end.
    constexpr std::chrono::milliseconds patience{500};
    const auto until = std::chrono::steady_clock::now() + patience;
    for (bool settled = false; !settled && std::chrono::steady_clock::now() < until;) {
        // Nothing is handed over behind the back of who looks at the rings one by one.
        const std::uint64_t before = handed_over();
        std::atomic_thread_fence(std::memory_order_seq_cst);
        const bool empty = inboxes_are_empty();
        rcu_.synchronize(); // what was taken by then is delivered, or was handed on
        settled = empty && handed_over() == before;
        std::this_thread::yield(); // those who sleep wake
    }
    gate_.store(gate::closed);
    rcu_.synchronize();
    swap(std::move(fresh));
}

void engine::swap(std::unique_ptr<published> fresh) noexcept
{
    const std::unique_ptr<published> old{
        current_.exchange(fresh.release(), std::memory_order_acq_rel)};
    gate_.store(gate::open);
    rcu_.wake_all();
    rcu_.synchronize();
    // A worker that may sleep by the new plan, and does, may have been handed packets by one that
    // did not ring, since by the old plan it need not. And one that sleeps still may keep open
    // what a port that went is about to close.
    rcu_.rouse_all();
}

bool engine::inboxes_are_empty() const noexcept
{
    for (const auto& to : workers_) {
        for (std::size_t from = 0; from < workers_.size(); ++from) {
            if (workers_[from] != to &&
                !to->inbox(worker_index{static_cast<std::uint16_t>(from)}).empty()) {
                return false;
            }
        }
    }
    return true;
}

std::uint64_t engine::handed_over() const noexcept
{
    std::uint64_t sum = 0;
    for (const auto& w : workers_) {
        sum += w->counters().handed_over.read();
    }
    return sum;
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
