// SPDX-License-Identifier: BSD-3-Clause
// A port's rate on the way out, kept by waiting: in front of a NIC's transmit queue, with up to
// eight classes. Packets that wait are owned, and bounded in number, bytes and time. Where a packet
// must not wait, towards guests, rates are policed (policer.hh).
#pragma once

#include "dataplane/counters.hh"
#include "dataplane/packet.hh"
#include "dataplane/shaping.hh"
#include "ports/port.hh"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>

struct rte_mbuf;

namespace strait::dataplane {

// Has its rate of bytes at any time since, and at most the burst when it had more than it took.
// Credit is time, with a fraction of 32 bits of a cycle, so that no rounding adds up. One thread's.
class shaping_bucket {
public:
    static constexpr std::uint64_t never = std::numeric_limits<std::uint64_t>::max();

    // Rate 0: has nothing, ever. What there is of credit stays, as far as the burst allows; the
    // first time it is full.
    void set(std::uint64_t bytes_a_second, std::uint64_t burst_bytes, std::uint64_t tsc_hz,
             std::uint64_t now) noexcept
    {
        unit_ = bytes_a_second == 0
                    ? 0
                    : static_cast<std::uint64_t>((fixed{tsc_hz} << 32) / bytes_a_second);
        burst_ = fixed{burst_bytes} * unit_;
        const fixed full = at(now) > burst_ ? at(now) - burst_ : 0;
        spent_ = is_set_ ? std::min(std::max(spent_, full), at(now)) : full;
        is_set_ = true;
    }
    // A packet of more bytes than the burst takes a full one; those behind it wait for the rest.
    [[nodiscard]] bool has(std::uint64_t bytes, std::uint64_t now) noexcept
    {
        if (unit_ == 0) {
            return false;
        }
        if (spent_ + burst_ < at(now)) {
            spent_ = at(now) - burst_;
        }
        return spent_ + needed(bytes) <= at(now);
    }
    void take(std::uint64_t bytes) noexcept { spent_ += bytes * fixed{unit_}; }
    void give_back(std::uint64_t bytes) noexcept
    {
        spent_ -= bytes * fixed{unit_};
    } // taken just now
    // TSC from which on has() is true, if nothing is taken until then.
    [[nodiscard]] std::uint64_t when(std::uint64_t bytes) const noexcept
    {
        if (unit_ == 0) {
            return never;
        }
        constexpr fixed one = fixed{1} << 32;
        return static_cast<std::uint64_t>((spent_ + needed(bytes) + one - 1) >> 32);
    }

private:
    __extension__ using fixed = unsigned __int128; // TSC cycles and 32 bits of a fraction

    [[nodiscard]] static fixed at(std::uint64_t tsc) noexcept { return fixed{tsc} << 32; }
    [[nodiscard]] fixed needed(std::uint64_t bytes) const noexcept
    {
        return std::min(bytes * fixed{unit_}, burst_);
    }

    std::uint64_t unit_{0}; // what a byte costs
    fixed burst_{0};
    fixed spent_{0}; // what was taken would have come back up to then
    bool is_set_{false};
};

// Of one class; any thread may read. Packets are those that the device was given.
struct shaper_counters {
    counter sent_packets;
    counter sent_bytes;
    counter waiting_packets; // at this moment
    counter waiting_bytes;
    counter dropped; // full and too late
};

class shaper final : public ports::tx_queue {
public:
    static constexpr std::uint64_t never = shaping_bucket::never;

    // In front of `queue`, which outlives all calls of a worker. `now` is the TSC.
    shaper(ports::tx_queue& queue, const shaping& settings, std::uint64_t tsc_hz,
           std::uint64_t now);
    // Frees what waits. When no worker uses it any more.
    ~shaper() override;
    shaper(const shaper&) = delete;
    shaper& operator=(const shaper&) = delete;

    // Control. The worker takes it over the next time it looks. What waits goes on waiting, in
    // class 0 if its class has gone, or leaves at once if there is no rate any more.
    void set(const shaping& settings);
    [[nodiscard]] shaping settings() const; // as given last
    [[nodiscard]] const shaper_counters& counters(std::size_t class_number) const noexcept
    {
        return classes_[class_number].counts;
    }

    // From here on the worker whose queue it is.

    // What of other packets goes while transmit() is called is counted there, and not by its
    // context, until null is given: for a context that is of these packets alone.
    void count_others_at(port_counters* counters) noexcept { others_ = counters; }

    // Each leaves at once, if nothing waits and its class and the port have credit; or is owned and
    // waits; or is dropped.
    void transmit(std::span<packet* const> packets,
                  const ports::queue_context& context) noexcept override;
    [[nodiscard]] offloads takes() const noexcept override { return queue_.takes(); }

    [[nodiscard]] bool waits() const noexcept { return busy_classes_ != 0; }
    // TSC at which release() is to be called; never, if nothing waits.
    [[nodiscard]] std::uint64_t next_release() const noexcept
    {
        if (!waits()) {
            return never;
        }
        return version_.load(std::memory_order_relaxed) == applied_ ? next_ : 0;
    }
    // Gives the queue what may go, some bursts at most; what it has no room for goes on waiting.
    // `scratch` has no packets then. Returns how many went.
    std::size_t release(const ports::queue_context& context, burst& scratch) noexcept;
    // All that waits is dropped.
    void drop_all(drop_reason reason, port_counters& counters) noexcept;

private:
    // What a class has of one source port: a list through the mbufs.
    struct sender {
        rte_mbuf* first{nullptr};
        rte_mbuf* last{nullptr};
        std::uint32_t bytes{0};
        std::uint32_t buffers{0};
        std::int32_t deficit{0};  // may send while it is more than 0
        std::uint32_t debt_of{0}; // the class's emptying before which it sent last
        std::uint16_t next{0};    // sender whose turn follows
    };
    static constexpr std::size_t sender_count = max_ports + 1; // the last: nobody's
    static constexpr std::uint16_t nobody = 0xffff;

    // What of a class's credit a packet goes by.
    enum class phase : std::uint8_t { guaranteed, borrowed };
    static constexpr std::size_t phases = 2;

    struct one_class {
        bool exists{false};
        std::uint8_t priority{0};
        shaping_bucket rate;
        shaping_bucket ceil;
        bool has_ceil{false}; // else the port's rate is
        std::int64_t quantum{0};
        std::array<std::int64_t, phases> deficit{};
        std::uint32_t limit{0};
        std::uint32_t limit_bytes{0};
        std::uint64_t max_wait{0};    // TSC cycles
        std::uint64_t next_expiry{0}; // TSC at which somebody may have waited too long
        std::uint32_t buffers{0};     // that wait
        std::uint32_t bytes{0};
        std::uint32_t packets{0};
        std::uint32_t emptied{0};         // times: what senders took too much is forgiven
        std::uint16_t first_turn{nobody}; // senders that have something, in turn
        std::uint16_t last_turn{nobody};
        std::unique_ptr<std::array<sender, sender_count>> senders;
        shaper_counters counts;
    };

    void apply(std::uint64_t now, port_counters* counters) noexcept; // null: nothing waits
    void set_class(std::size_t i, const shaper_class& to, std::uint64_t now) noexcept;
    void move_to_default(one_class& from, std::uint64_t now, port_counters* counters) noexcept;
    [[nodiscard]] port_counters& of_others(const ports::queue_context& context) const noexcept
    {
        return others_ != nullptr ? *others_ : *context.counters;
    }
    [[nodiscard]] std::size_t class_of(const packet& p) const noexcept;
    [[nodiscard]] bool leaves_at_once(one_class& c, std::uint64_t cost, std::uint64_t now) noexcept;
    void wait(packet& p, std::size_t to, const ports::queue_context& context) noexcept;
    [[nodiscard]] bool make_room(one_class& c, const packet& p, rte_mbuf*& evicted) noexcept;
    static void restore(one_class& c, rte_mbuf* evicted) noexcept;
    void drop_evicted(one_class& c, rte_mbuf* evicted, port_counters& counters) noexcept;
    void append(one_class& c, rte_mbuf* m) noexcept;
    void put_first(one_class& c, rte_mbuf* m) noexcept;
    static void prepend(one_class& c, sender& s, rte_mbuf* m) noexcept;
    static void add(one_class& c, sender& s, const rte_mbuf* m) noexcept;
    [[nodiscard]] rte_mbuf* take_first(one_class& c, sender& s) noexcept;
    void end_turn(one_class& c, std::uint16_t of) noexcept;
    [[nodiscard]] rte_mbuf* next_of(one_class& c) noexcept;
    void remove(one_class& c, std::uint16_t from, drop_reason reason,
                port_counters& counters) noexcept;
    void expire(one_class& c, std::uint64_t now, port_counters& counters) noexcept;
    void settle(one_class& c) noexcept;
    struct choice {
        std::size_t number;
        phase by;
        rte_mbuf* packet; // null: none may go before `when`
        std::uint64_t when;
        std::uint64_t cost{0};
    };
    [[nodiscard]] choice choose(std::uint64_t now) noexcept;
    [[nodiscard]] std::size_t take_turns(unsigned eligible, phase by) noexcept;
    void charge(const choice& c) noexcept;
    void transmit_at_once(std::span<packet* const> packets,
                          const ports::queue_context& context) noexcept;
    [[nodiscard]] bool load(const choice& c, burst& to, port_counters& counters) noexcept;
    [[nodiscard]] std::size_t send(burst& b, const ports::queue_context& context) noexcept;
    void take_back(std::size_t slot, rte_mbuf* m) noexcept;

    ports::tx_queue& queue_;
    const std::uint64_t tsc_hz_;
    bool limits_{false};
    unsigned busy_classes_{0}; // bits of those in which something waits
    bool full_{false};         // the queue, lately: what comes waits, to find out
    std::uint64_t next_{0};    // TSC
    shaping_bucket port_;
    std::array<std::size_t, phases> turn_{};
    std::array<one_class, shaper_classes> classes_;
    std::array<choice, burst::capacity> loaded_; // by slot of what is released
    std::uint32_t applied_{0};
    port_counters* others_{nullptr};

    std::atomic<std::uint32_t> version_{1};
    mutable std::mutex mutex_; // of what follows; the worker only tries
    shaping settings_;
};

} // namespace strait::dataplane
