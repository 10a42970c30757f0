// SPDX-License-Identifier: BSD-3-Clause
// The workers, what they share, and the publication of configuration to them. Control owns one
// engine; it knows nothing of how configuration is named or stored.
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/endpoint/neighbours.hh"
#include "dataplane/rcu.hh"
#include "dataplane/snapshot.hh"
#include "dataplane/types.hh"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

struct rte_mempool;

namespace strait::conntrack {
class store;
class tracker;
} // namespace strait::conntrack

namespace strait::flow {
class cache;
} // namespace strait::flow

namespace strait::dataplane {

class worker;
struct published;

struct engine_settings {
    // One worker a DPDK lcore, in this order; EAL has pinned them.
    std::vector<unsigned> lcores;
    // Workers that share a CPU yield it when they have nothing to do.
    bool share_cpus{false};
    // Workers never sleep, however long nothing comes.
    bool busy_poll{false};
    // How late a timer may end a nap; see naps. With a nap, no more than may_wait() allows for.
    std::chrono::microseconds nap_tolerance{25};
    // Of a worker's flow cache; taken as flows come. See flow::cache.
    std::size_t flow_cache_bytes{std::size_t{256} << 20};
    // That all workers track at most; memory is taken as they come. See conntrack::table.
    std::size_t connections{std::size_t{4} << 20};
    rte_mempool* pool{nullptr}; // for own(); private area of at least handover_area bytes
};

// Private area that the packet pool's mbufs need for hand-over between workers.
inline constexpr std::size_t handover_area = 32;

class engine {
public:
    // Starts the workers on an empty snapshot. Throws std::runtime_error with a sentence.
    explicit engine(engine_settings settings);
    // Stops and joins them. Ports must be destroyed after this or be unpublished before.
    ~engine();
    engine(const engine&) = delete;
    engine& operator=(const engine&) = delete;

    // Control thread. Swaps the snapshot and returns after a grace period: what only the old one
    // referred to is no longer seen by any worker.
    void publish(std::unique_ptr<const snapshot> next);
    // The same for a snapshot in which queues have other workers than before. For a moment no
    // worker takes from any port, and what they have handed to each other is delivered; so nothing
    // is lost, and no packet overtakes another. A device that keeps little for those who do not
    // look may lose some.
    void publish_moved(std::unique_ptr<const snapshot> next);
    [[nodiscard]] const snapshot& current() const noexcept; // control thread

    [[nodiscard]] rcu_domain& rcu() noexcept { return rcu_; }
    [[nodiscard]] rte_mempool* pool() const noexcept { return settings_.pool; }
    [[nodiscard]] bool busy_polls() const noexcept { return settings_.busy_poll; }
    // Seconds since the engine started; any thread.
    [[nodiscard]] seconds_t now() const noexcept;

    [[nodiscard]] std::size_t worker_count() const noexcept { return workers_.size(); }
    // Any thread.
    [[nodiscard]] const worker_counters& counters(worker_index worker) const noexcept;
    [[nodiscard]] const port_counters& counters(worker_index worker,
                                                port_index port) const noexcept;
    [[nodiscard]] unsigned lcore(worker_index worker) const noexcept;
    [[nodiscard]] const flow::cache& flow_cache(worker_index worker) const noexcept;
    [[nodiscard]] flow::cache& flow_cache(worker_index worker) noexcept; // to submit() to
    // Of the switch's own addresses.
    [[nodiscard]] endpoint::neighbours& neighbours() noexcept { return neighbours_; }
    [[nodiscard]] conntrack::tracker& tracker(worker_index worker) noexcept;
    // What all trackers share.
    [[nodiscard]] conntrack::store& connections() noexcept { return *connections_; }
    // Any thread but a worker: whoever waits for a job of a worker's calls it now and then.
    void wake_workers() noexcept { rcu_.wake_all(); }

private:
    friend class worker;
    friend struct published;

    // What workers may do.
    enum class gate : std::uint8_t {
        open,
        inboxes, // deliver what others handed over, and nothing else
        closed   // nothing: what there is may be exchanged under them
    };

    void stop() noexcept;
    void swap(std::unique_ptr<published> fresh) noexcept;
    [[nodiscard]] bool inboxes_are_empty() const noexcept;
    [[nodiscard]] std::uint64_t handed_over() const noexcept; // by all workers

    engine_settings settings_;
    rcu_domain rcu_;
    endpoint::neighbours neighbours_;
    std::uint64_t start_tsc_;
    std::uint64_t tsc_hz_;
    std::atomic<published*> current_{nullptr};
    std::atomic<gate> gate_{gate::open};
    std::unique_ptr<conntrack::store> connections_;
    std::vector<std::unique_ptr<worker>> workers_;
};

} // namespace strait::dataplane
