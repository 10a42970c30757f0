// SPDX-License-Identifier: BSD-3-Clause
// A poll worker: a pinned thread that takes bursts from the receive queues it owns and runs each to
// completion. Packets for queues of another worker are owned and handed over through a bounded
// ring. Started and stopped by the engine; what it polls comes with each publication.
#pragma once

#include "dataplane/conntrack/tracker.hh"
#include "dataplane/counters.hh"
#include "dataplane/flow/forward.hh"
#include "dataplane/forward.hh"
#include "dataplane/guard/inspector.hh"
#include "dataplane/naps.hh"
#include "dataplane/output_lists.hh"
#include "dataplane/packet.hh"
#include "dataplane/poll_order.hh"
#include "dataplane/snapshot.hh"
#include "dataplane/tapper.hh"
#include "dataplane/tunnel/carrier.hh"
#include "dataplane/types.hh"
#include "ports/port.hh"

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include <poll.h>

struct rte_ring;

namespace strait::dataplane {

class engine;

// What one worker does with a snapshot: made by the engine with it, and then changed by nobody but
// that worker, in `order`.
struct worker_plan {
    struct source {
        ports::rx_queue* queue;
        const port_config* port;
        queue_counters* counters; // null: none
        bool wakes;               // its worker
    };
    struct sink {
        ports::tx_queue* queue{nullptr};   // of ours; null: another worker's, or none
        queue_counters* counters{nullptr}; // of that queue; null: none
        worker_index owner{};              // of the port's first, who gets what has no queue here
        bool reachable{false};             // there is one
        bool wake_owner{false};            // who may be asleep
        bool may_close{false};             // `queue` is not the first

        // The queue that takes packets now; null: they are to be handed over, if to anybody.
        [[nodiscard]] ports::tx_queue* open_queue() const noexcept
        {
            return may_close && !queue->open() ? nullptr : queue;
        }
    };
    struct shaped {
        shaper* queue; // the sink's, of ours
        const port_config* port;
        queue_counters* counters; // null: none
    };
    std::vector<source> sources;
    poll_order order; // of the sources
    std::vector<shaped> shapers;
    std::vector<sink> sinks; // by port_index
    bool may_sleep{false};
    bool extras{false}; // there are shapers, or BPDUs that control may send
    bool naps{false};   // a source cannot wake its worker, which may sleep for a moment at most
};

// What the engine swaps: a snapshot and every worker's plan of it.
struct published {
    std::unique_ptr<const snapshot> config;
    std::vector<worker_plan> plans; // by worker_index

    published(std::unique_ptr<const snapshot> s, const engine& e);
};

// A bounded ring of owned packets, from one worker to one other.
class handover_ring {
public:
    static constexpr unsigned size = 1024; // packets

    handover_ring();
    ~handover_ring();
    handover_ring(const handover_ring&) = delete;
    handover_ring& operator=(const handover_ring&) = delete;

    // Both return how many packets went through.
    unsigned give(std::span<rte_mbuf* const> packets) noexcept;
    unsigned take(std::span<rte_mbuf*> packets) noexcept;
    [[nodiscard]] bool empty() const noexcept;

private:
    struct deleter {
        void operator()(rte_ring* ring) const noexcept;
    };
    std::unique_ptr<rte_ring, deleter> ring_;
};

class worker {
public:
    worker(engine& e, worker_index index, std::size_t workers);
    ~worker();
    worker(const worker&) = delete;
    worker& operator=(const worker&) = delete;

    void run() noexcept; // the thread's function
    void stop() noexcept { stop_.store(true, std::memory_order_relaxed); }
    // After the thread was waited for: everything it did is visible, to race detectors as well.
    [[nodiscard]] bool ended() const noexcept { return ended_.load(std::memory_order_acquire); }

    // Packets that `from` hands to this worker.
    [[nodiscard]] handover_ring& inbox(worker_index from) noexcept
    {
        return *inboxes_[to_index(from)];
    }
    [[nodiscard]] const worker_counters& counters() const noexcept { return counters_; }
    [[nodiscard]] const port_counters& counters(port_index port) const noexcept
    {
        return port_counters_[to_index(port)];
    }
    [[nodiscard]] const flow::cache& flow_cache() const noexcept { return flows_.entries(); }
    [[nodiscard]] flow::cache& flow_cache() noexcept { return flows_.entries(); }
    [[nodiscard]] conntrack::tracker& tracker() noexcept { return tracker_; }

private:
    struct iteration {
        std::uint64_t tsc;
        const snapshot* config;
        worker_plan* plan;
    };

    void wait_at_gate(bool inboxes) noexcept;
    [[nodiscard]] bool poll(const worker_plan::source& source, const iteration& now) noexcept;
    [[nodiscard]] bool poll_inboxes(const iteration& now) noexcept;
    // `handed_over`: by another worker, which has shown the packets to taps.
    void deliver(const iteration& now, output_lists& lists, std::size_t depth,
                 bool handed_over = false) noexcept;
    void carry(std::span<packet* const> packets, const port_config& port, const iteration& now,
               std::size_t depth) noexcept;
    struct round;
    void go_on(round& r, const iteration& now, std::size_t depth) noexcept;
    void forward_again(round& r, std::span<packet_slot* const> packets, const port_config& in,
                       const iteration& now, std::size_t depth) noexcept;
    void look_at_waiting(const iteration& now) noexcept;
    // Of what was too long for the port.
    void tell_senders(const port_config& port, const iteration& now, std::size_t depth) noexcept;
    [[nodiscard]] tunnel::surroundings around(round& r, const iteration& now,
                                              tunnel::continuation& next) noexcept;
    // Those that the port's rules let out stay at the front; how many.
    // `here`: they leave by a queue of ours, or by a port without any.
    [[nodiscard]] std::size_t judge(std::span<packet*> packets, const port_config& port, bool here,
                                    port_counters& counters, const iteration& now) noexcept;
    // Packets that were admitted, by `queue`; null: not by one of ours. Whether they went to
    // another worker.
    bool give(std::span<packet* const> packets, bool complete, const port_config& port,
              ports::tx_queue* queue, port_counters& counters, const iteration& now) noexcept;
    // Of a mirror, with counters of its own. Whether they are on their way only: to another worker,
    // or to wait for the port's rate.
    bool give_copies(std::span<packet* const> packets, bool complete, const port_config& port,
                     port_counters& counters, const iteration& now) noexcept;
    class to_mirror;
    // What a port that mirrors alone may use sends is nobody's.
    [[nodiscard]] bool show_received(burst& b, const port_config& in,
                                     const iteration& now) noexcept;
    void transmit(std::span<packet* const> packets, ports::tx_queue& queue,
                  const ports::queue_context& context) noexcept;
    void make_local(std::span<packet* const> packets, port_counters& counters) noexcept;
    // Whether anything left that had waited for a rate.
    bool release_waiting(const iteration& now) noexcept;
    // TSC; never: nothing waits.
    [[nodiscard]] static std::uint64_t next_release(const worker_plan& plan) noexcept;
    [[nodiscard]] std::uint64_t next_expiry() noexcept;
    void drop_waiting_fragments() noexcept;
    void hand_over(std::span<packet* const> packets, const port_config& port,
                   const worker_plan::sink& to, port_counters& counters) noexcept;
    void sleep(const iteration& now) noexcept;
    [[nodiscard]] bool listen(const iteration& now) noexcept;
    // Those of control's that leave by queues of ours; whether there were any.
    bool send_bpdus(const iteration& now) noexcept;
    void account(std::uint64_t tsc, bool busy) noexcept;

    engine& engine_;
    const worker_index index_;
    std::atomic<bool> stop_{false};
    std::atomic<bool> ended_{false};
    seconds_t now_{0};
    std::uint64_t next_second_;
    // TSC cycles without a packet after which it sleeps: 100 microseconds, some times what it costs
    // to be woken.
    const std::uint64_t patience_;
    std::uint64_t last_tsc_{0};
    std::size_t taken_{0}; // packets, in this iteration
    // TSC cycles, averaged over iterations that took many. Too high at first rather than too low: a
    // ring that is left alone for that soon gives a burst to measure.
    std::uint64_t packet_cost_{200};
    std::uint64_t awake_until_{0}; // TSC, at least
    naps naps_;
    worker_counters counters_;
    std::unique_ptr<port_counters[]> port_counters_;
    // What becomes of packets that have been counted already; nobody reads it.
    std::unique_ptr<port_counters> counted_already_{new port_counters};
    std::unique_ptr<burst> burst_;
    std::unique_ptr<burst> cut_; // segments on their way to one queue
    output_lists outputs_;
    conntrack::tracker tracker_;
    flow::switcher flows_;
    tunnel::carrier carrier_;
    // What goes into tunnels and comes out of them is forwarded again, while what it came with is
    // not done yet: by its depth.
    std::array<std::unique_ptr<round>, tunnel::most_rounds> rounds_;
    flow::switcher judge_; // of what leaves by ports that have rules for that,
    output_lists judged_;  // which its programs put there
    too_long_packets too_long_;
    tapper taps_;
    guard::inspector inspector_;
    // By source port: where all of its last burst went; no_port if to several, or nowhere.
    std::array<port_index, max_ports> expected_;
    port_index delivered_to_{no_port}; // where the last lists went, if to one port
    origin_ring from_;                 // of the burst that is under way
    std::uint64_t bpdu_waits_{0};      // TSC since when the first of control's has no room; or 0
    ports::notification_list notifications_;
    std::vector<pollfd> wakers_;            // descriptors to sleep on: the bell's and the sources'
    std::vector<std::size_t> waker_counts_; // by source
    std::vector<std::unique_ptr<handover_ring>> inboxes_; // by the giving worker; null: itself
};

} // namespace strait::dataplane
