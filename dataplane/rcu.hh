// SPDX-License-Identifier: BSD-3-Clause
// Quiescent-state reclamation over DPDK's rte_rcu_qsbr: workers report once an iteration, control
// threads wait for a grace period before they free or reuse what workers may have seen. A worker
// that sleeps is offline, and is woken when something changes.
#pragma once

#include "dataplane/doorbell.hh"
#include "dataplane/types.hh"

#include <array>
#include <memory>

struct rte_rcu_qsbr;

namespace strait::dataplane {

class rcu_domain {
public:
    rcu_domain();
    ~rcu_domain();
    rcu_domain(const rcu_domain&) = delete;
    rcu_domain& operator=(const rcu_domain&) = delete;

    // Worker threads only, each with its own index.
    void go_online(worker_index worker) noexcept;
    void go_offline(worker_index worker) noexcept;
    void quiescent(worker_index worker) noexcept;

    // Any thread but a worker. Returns when no worker can still see what was unpublished before
    // the call; returns at once when no worker is online. Several threads may wait at once. A
    // worker that sleeps sees nothing, and goes on sleeping.
    void synchronize() noexcept;
    // Any thread, after it published something: wakes workers that sleep, to see it.
    void wake_all() noexcept;
    // Any thread but a worker, before it closes descriptors that workers may sleep on: wakes them
    // and waits until they do not, or what is closed last would be closed by a worker.
    void rouse_all() noexcept;
    [[nodiscard]] doorbell& bell(worker_index worker) noexcept { return bells_[to_index(worker)]; }

private:
    struct deleter {
        void operator()(rte_rcu_qsbr* qsbr) const noexcept;
    };
    std::unique_ptr<rte_rcu_qsbr, deleter> qsbr_;
    std::array<doorbell, max_workers> bells_;
};

} // namespace strait::dataplane
