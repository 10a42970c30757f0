// SPDX-License-Identifier: BSD-3-Clause
// Guests of a simulated hypervisor whose rings are wired to the ring engine by the test itself: no
// states, no control thread, one step at a time. The front end is the well-behaved one; a test that
// wants another writes into its rings.
#pragma once

#include "tests/unit/dataplane/eal.hh"
#include "tests/unit/ports/xen-netback/simulated/lab.hh"

#include "ports/xen-netback/queue.hh"
#include "ports/xen-netback/simulated/netfront_queue.hh"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace strait::xen::test {

using simulated::test::lab;
using strait::test::frame;
using strait::test::make_frame;

inline constexpr std::uint64_t tsc_hz = 2'000'000'000;

[[nodiscard]] inline std::span<const std::byte> as_bytes(const frame& f)
{
    return std::as_bytes(std::span{f});
}
[[nodiscard]] inline frame to_frame(std::span<const std::byte> bytes)
{
    frame f(bytes.size());
    std::memcpy(f.data(), bytes.data(), bytes.size());
    return f;
}

// What a worker has, for one port.
struct worker_side {
    std::unique_ptr<dataplane::burst> burst{new dataplane::burst};
    dataplane::port_counters counters;
    ports::notification_list notifications;
    rte_mempool* pool{nullptr};
    std::uint64_t now{tsc_hz};
    std::uint64_t step{tsc_hz}; // from one context to the next: a second, so that each look is due

    [[nodiscard]] ports::queue_context context()
    {
        now += step;
        return {now, pool, &counters, &notifications};
    }
    [[nodiscard]] std::uint64_t drops(dataplane::drop_reason r) const
    {
        return counters.drops[static_cast<std::size_t>(r)].read();
    }
    // Each once, whatever the reason.
    [[nodiscard]] std::uint64_t all_drops() const
    {
        std::uint64_t sum = 0;
        for (const auto& d : counters.drops) {
            sum += d.read();
        }
        return sum;
    }
};

// While it lives, reads leave guest memory as it is in builds where they change it, too: what one
// process reads, or an earlier poll that left it, the next one reads again.
class unchanging_reads {
public:
#ifdef STRAIT_MUTATE_GUEST
    unchanging_reads()
    {
        dataplane::detail::watch_reads().mutate = false;
    }
    ~unchanging_reads()
    {
        dataplane::detail::watch_reads().mutate = true;
    }
#else
    unchanging_reads() {} // NOLINT(modernize-use-equals-default): so that one is not unused
#endif
    unchanging_reads(const unchanging_reads&) = delete;
    unchanging_reads& operator=(const unchanging_reads&) = delete;
};

inline constexpr std::uint16_t first_domain = 7;
[[nodiscard]] frontend_features all_features();

// One guest, one queue of it, and both rings' engines.
class wired_guest {
public:
    struct options {
        frontend_features features{all_features()};
        bool split_channels{true};
        std::uint32_t receive_buffers{netif::ring_size};
        credit rate{};
        std::uint32_t pages{0}; // beside its driver's
    };
    // Of a domain of its own, the next number each.
    wired_guest(lab& l, hypervisor& h) : wired_guest{l, h, options{}} {}
    wired_guest(lab& l, hypervisor& h, options o);
    ~wired_guest();
    wired_guest(const wired_guest&) = delete;
    wired_guest& operator=(const wired_guest&) = delete;

    [[nodiscard]] simulated::simulated_guest& domain() { return *domain_; }
    [[nodiscard]] simulated::netfront_queue& front() { return *front_; }
    [[nodiscard]] guest& state() { return *rings_->guest; }
    [[nodiscard]] ring_set& rings() { return *rings_; }
    [[nodiscard]] source& out() { return *rings_->sources.front(); }
    [[nodiscard]] sink& in() { return *rings_->sinks.front(); }
    [[nodiscard]] worker_side& worker() { return worker_; }
    [[nodiscard]] std::uint16_t id() const { return static_cast<std::uint16_t>(id_); }

    // The switch ends at once, and another takes the rings up where they are.
    void restart();
    // Whether the back end has notified since the last call.
    [[nodiscard]] bool told();

    // ---- the guest sends ----

    void send(const frame& f, simulated::frame_extras e = {},
              std::span<const std::uint16_t> cuts = {}, std::uint16_t offset = 0);
    void publish() { front_->publish_sent(); }
    // One burst, still borrowed.
    [[nodiscard]] ports::rx_queue::poll receive();
    [[nodiscard]] std::span<dataplane::packet_slot> burst() { return worker_.burst->packets(); }
    void release();
    // A burst from its reception to its release, as frames.
    std::vector<frame> poll();
    // What was sent is polled to the last.
    std::vector<frame> poll_all();
    void reap() { front_->reap(); }

    // ---- the guest receives ----

    void transmit(std::span<dataplane::packet* const> packets);
    void transmit(const std::vector<frame>& frames);
    struct delivered {
        frame bytes;
        simulated::received_frame about; // its bytes are gone
    };
    std::vector<delivered> take();
    // As take(), without what is said about them.
    std::vector<frame> take_frames();

    // One burst of this guest's, straight to the other's rings.
    std::size_t forward(wired_guest& to);

private:
    void wire(bool left_behind);

    hypervisor& hypervisor_;
    const options options_;
    domain_id id_;
    std::unique_ptr<simulated::simulated_guest> domain_;
    std::unique_ptr<simulated::netfront_queue> front_;
    std::unique_ptr<ring_set> rings_;
    worker_side worker_;
};

// The requests of one frame as a guest writes them, each field as wished.
void put_request(wired_guest& g, netif::tx_request r);
void put_extra(wired_guest& g, netif::extra e, std::uint8_t flags = 0,
               std::array<std::uint8_t, 6> body = {});
// The response that stands at this index of the transmit ring.
[[nodiscard]] netif::tx_response response_at(wired_guest& g, std::uint32_t at);

} // namespace strait::xen::test
