// SPDX-License-Identifier: BSD-3-Clause
// Connection tracking by one worker: finds the connections of a burst's packets, says what state
// they are in, makes new ones, translates their packets, and forgets connections in time. They are
// all workers' (store.hh). Which packets come here is the flows' business (request.hh); tables,
// windows, translation have files of their own.
#pragma once

#include "dataplane/conntrack/job.hh"
#include "dataplane/conntrack/known.hh"
#include "dataplane/conntrack/nat.hh"
#include "dataplane/conntrack/parse.hh"
#include "dataplane/conntrack/request.hh"
#include "dataplane/conntrack/segment_rewrite.hh"
#include "dataplane/conntrack/store.hh"
#include "dataplane/conntrack/tracking.hh"
#include "dataplane/conntrack/translate.hh"
#include "dataplane/counters.hh"
#include "dataplane/packet.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace strait::conntrack {

struct tracker_counters {
    dataplane::counter created;
    dataplane::counter ended;   // forgotten in time, or because a new one began
    dataplane::counter evicted; // forgotten before that, for another's sake
    dataplane::counter flushed;
    dataplane::counter found;   // packets of connections
    dataplane::counter fresh;   // that would begin one
    dataplane::counter invalid; // of none
    dataplane::counter related; // that announce, or are announced by, others
    dataplane::counter translated;
    dataplane::counter rewritten; // with other numbers, or other payload, than they came with
};

class tracker final : public tracking {
public:
    // `all` is all trackers' and outlives them; `worker` is below all.workers(). `pool`: for
    // payload that has to be looked at and is not local.
    explicit tracker(store& all, unsigned worker = 0, rte_mempool* pool = nullptr);

    // All of these: the worker alone. Requests in the order of their packets, in each zone.
    void track(std::span<request> requests, seconds_t now) noexcept override;
    // The short way (known.hh): all packets' connections are looked for before the first is met,
    // with the lock of its zone held from meet() to follow().
    void look_for(plain_packet& q) const noexcept { q.likely = table_.prefetch_likely(q.hash); }
    void prefetch(const plain_packet& q) const noexcept { table_.prefetch_bucket(q.hash); }
    void enter(lock_holder& held, zone_id zone) noexcept
    {
        if (!alone_) {
            held.take(all_.shard_of(zone).lock);
        }
    }
    [[nodiscard]] bool alone() const noexcept { return alone_; }
    [[nodiscard]] known_connection meet(const plain_packet& q, seconds_t now) const noexcept;
    // The packet is one of it, and the caller counts it as found. False: it is not, and nothing has
    // changed.
    [[nodiscard]] bool follow(const plain_packet& q, const known_connection& k,
                              seconds_t now) noexcept;
    [[nodiscard]] tracker* short_way() noexcept override { return this; }

    [[nodiscard]] std::span<const released_packet> released() const noexcept override
    {
        return std::span{released_}.first(released_count_);
    }
    // Whether fragments may have waited too long, to be taken out by expire_fragments().
    [[nodiscard]] bool has_waiting_fragments(seconds_t now) const noexcept
    {
        return all_.waiting_fragments() > 0 && now != looked_at_fragments_;
    }
    // Some of those; all of this second's, if there are fewer than there is room for.
    [[nodiscard]] std::size_t expire_fragments(std::span<fragments::waiting_packet> to,
                                               seconds_t now) noexcept;
    // To be called often: forgets what is due, some at a time, as fast as new ones come.
    void maintain(seconds_t now) noexcept;
    // Whether there is nothing to maintain.
    [[nodiscard]] bool rests(seconds_t now) const noexcept
    {
        return all_.wheel(worker_).empty() && !has_job() &&
               (alone_ || (now == looked_at_others_ && others_ == all_.workers()));
    }

    // When there will be something to maintain, if nothing comes until then; never: it will not.
    static constexpr seconds_t never = timer_wheel::never;
    [[nodiscard]] seconds_t next_look(seconds_t now) noexcept
    {
        return std::min(all_.wheel(worker_).next(), all_.waiting_fragments() > 0 ? now + 1 : never);
    }
    // Whether there is already more than maintain() has come to.
    [[nodiscard]] bool is_late(seconds_t now) noexcept
    {
        const timer_wheel& own = all_.wheel(worker_);
        return !own.empty() && own.lag(now) > 0;
    }

    // Any thread. False: there is another job, which must be done first. The worker serves it in
    // maintain(), for all connections, and looks at it no more once it is done.
    [[nodiscard]] bool submit(job& j) noexcept
    {
        job* none = nullptr;
        return job_.compare_exchange_strong(none, &j, std::memory_order_acq_rel);
    }
    // Whether control waits for the worker.
    [[nodiscard]] bool has_job() const noexcept
    {
        return job_.load(std::memory_order_relaxed) != nullptr;
    }
    tracker_counters counters;

private:
    struct question {
        whole_tuple asked;
        std::uint64_t hash;
        connection_id likely; // of the same signature
        packet_kind kind;
        bool again; // the packet was here before, in this zone
    };

    // Of TCP: see follow().
    [[nodiscard]] bool follow_segment(const plain_packet& q, connection& c, connection_id id,
                                      bool reply, seconds_t now) noexcept;

    void answer_in_order(std::span<request> requests, seconds_t now) noexcept;
    // With several workers: of each shard's zones all at once.
    void answer_by_shard(std::span<request> requests, seconds_t now) noexcept;
    void answer_any(request& r, question& q, seconds_t now) noexcept;
    // What is asked of a fragment is known when those in front of it are.
    void answer_fragment(request& r, question& q, seconds_t now) noexcept;
    void release(const request& r, const whole_tuple& datagram) noexcept;
    void answer(request& r, const question& q, seconds_t now) noexcept;
    void answer_error(request& r, const match& m) noexcept;
    // Whether it was translated.
    bool tell_error(request& r, const match& m) noexcept;
    // What is known of a packet's connection; one whose time is over is forgotten.
    [[nodiscard]] match find(const question& q, seconds_t now) noexcept;
    // False: the connection is gone, the packet is as one of none.
    [[nodiscard]] bool follow(request& r, const question& q, const match& m,
                              seconds_t now) noexcept;
    // Whether the packet may be one of it.
    enum class progress : std::uint8_t { goes_on, ends, invalid, begins_anew };
    [[nodiscard]] progress advance(const request& r, const question& q, const match& m,
                                   seconds_t now) noexcept;
    void begin(request& r, const question& q, seconds_t now) noexcept;
    // What is said of a packet that would begin a connection; who announced that, or null.
    expectation* tell_fresh(request& r, const question& q, seconds_t now) noexcept;
    [[nodiscard]] static bool may_begin(const request& r, const question& q) noexcept;
    void commit(request& r, const question& q, expectation* announced, seconds_t now) noexcept;
    [[nodiscard]] connection_id make(const whole_tuple& original, const whole_tuple& reply,
                                     seconds_t now) noexcept;
    void set_marks(const request& r, connection& c, connection_id id) noexcept;
    static void take_helper(const request& r, connection& c) noexcept;
    // Of a connection that is listened to: which byte its side is to send next, if that is known.
    using next_byte = std::optional<std::uint32_t>;
    [[nodiscard]] static next_byte next_of(const connection& c, bool reply) noexcept;
    void listen(request& r, connection& c, connection_id id, bool reply, const next_byte& next,
                seconds_t now) noexcept;
    [[nodiscard]] static bool is_in_order(const request& r, connection& c, bool reply,
                                          const next_byte& next) noexcept;
    [[nodiscard]] bool announce(request& r, connection& c, connection_id id, bool reply,
                                const announcement& found, const payload_extent& payload,
                                seconds_t now) noexcept;
    [[nodiscard]] bool choose_port(expectation& e, seconds_t now) noexcept;
    [[nodiscard]] bool edit(request& r, connection& c, connection_id id, bool reply, std::size_t at,
                            std::size_t size, std::string_view text) noexcept;
    // Of what a side sends, if anything.
    [[nodiscard]] static std::optional<std::uint32_t> acknowledged_to(const connection& c,
                                                                      unsigned side) noexcept;
    [[nodiscard]] connection_edits& edits_of(connection_id id) noexcept
    {
        return all_.edits().at(table_.details(id).next);
    }
    [[nodiscard, gnu::noinline]] tcp::verdict advance_edited(const match& m,
                                                             tcp::segment s) noexcept;
    void rewrite(request& r, const connection& c, connection_id id, bool reply) noexcept;
    // How answers to an announced connection's first packet look if addresses are translated.
    [[nodiscard]] whole_tuple answers_to(const expectation& e, const whole_tuple& first,
                                         seconds_t now) noexcept;
    // What answers to a new connection have. Nothing: it cannot be, and the packet is dropped.
    [[nodiscard]] std::optional<whole_tuple>
    admit(request& r, const question& q, const expectation* announced, seconds_t now) noexcept;
    // As packets have it that answer. Nothing: it cannot be had.
    [[nodiscard]] std::optional<whole_tuple> reply_to(const request& r, const question& q,
                                                      const expectation* announced,
                                                      seconds_t now) noexcept;
    // Whether no connection has it; one whose time is over is forgotten.
    [[nodiscard]] bool is_free(const whole_tuple& t, seconds_t now) noexcept;
    struct free_tuples final : occupancy {
        free_tuples(tracker& t, seconds_t s) noexcept : all{t}, now{s} {}
        bool is_free(const whole_tuple& t) noexcept override { return all.is_free(t, now); }
        tracker& all;
        seconds_t now;
    };
    void inherit(connection& c, connection_id id, const expectation& from) noexcept;
    void set_translated(connection& c) const noexcept;
    // Bits of `note`.
    [[nodiscard]] static std::uint8_t what_differs(const whole_tuple& there,
                                                   const whole_tuple& back) noexcept;
    void translate(request& r, const connection& c, bool reply) noexcept;
    void tell(request& r, const connection& c, connection_id id, bool reply) const noexcept;
    void set_invalid(request& r) noexcept;
    [[nodiscard]] static result invalid_in(zone_id zone) noexcept
    {
        return {.state = state::tracked | state::invalid, .zone = zone};
    }
    static void ask(const request& r, question& q) noexcept;
    static void drop(request& r, dataplane::drop_reason reason) noexcept;
    void remove(connection_id id) noexcept;
    // Makes room by forgetting one that never came about, is closing, or should be gone.
    [[nodiscard]] bool evict(const packed_tuple& for_whom, seconds_t now) noexcept;
    // `held`: the shard whose lock is.
    [[nodiscard]] bool evict(bool ipv6, std::optional<unsigned> held, seconds_t now) noexcept;
    [[nodiscard]] bool evict(connection_id id, std::optional<unsigned> held,
                             seconds_t now) noexcept;
    void make_room(seconds_t now) noexcept;
    void schedule(connection_id id, const connection& c, seconds_t now) noexcept;
    // As much of the wheel as is due; how much of the budget is left.
    std::size_t turn(timer_wheel& wheel, std::size_t budget, seconds_t now) noexcept;
    void help_others(seconds_t now) noexcept;
    void forget(std::span<const connection_id> due, seconds_t now) noexcept;
    // Holds the lock of the zone that the place is in: false: it is in none.
    [[nodiscard]] bool enter(lock_holder& held, const connection& c) noexcept;

    void serve(job& j, seconds_t now) noexcept;
    [[nodiscard]] bool do_for(job& j, connection_id id, seconds_t now) noexcept;
    // As track() would answer, but that nothing is known afterwards that was not before.
    void look(job& j, seconds_t now) noexcept;
    [[nodiscard]] bool look_on(request& r, const question& q, const match& m) noexcept;
    void look_at_new(request& r, const question& q, seconds_t now) noexcept;
    void finish(job& j) noexcept;
    [[nodiscard]] connection_record record_of(const connection& c, connection_id id,
                                              seconds_t now) const noexcept;

    static constexpr std::size_t batch = dataplane::burst::capacity;
    // Tuples to look for that are worth letting others have the lock: some microseconds.
    static constexpr std::size_t most_work = 64;
    // Connections to make room for where a newcomer found none, for the zones' sake that it was in.
    static constexpr std::size_t room_ahead = 8;

    store& all_;
    table& table_;
    zones& zones_;
    const timeouts times_;
    const unsigned worker_;
    const bool alone_;
    translator translator_;
    port_chooser ports_;
    rte_mempool* const pool_;
    std::size_t work_{0};                      // tuples looked for, since others could have a lock
    std::size_t made_{0};                      // since something was forgotten
    std::size_t owed_{0};                      // to be evicted once no lock is held
    std::array<std::uint32_t, 2> hands_{1, 1}; // by family: where to look for one to evict
    seconds_t looked_at_others_{0};            // wheels: in that second, those below `others_`
    unsigned others_{0};
    std::unique_ptr<std::array<question, batch>> questions_;
    const request* asked_{nullptr}; // the first of those that are answered
    std::size_t released_count_{0};
    std::array<released_packet, fragments::most_waiting> released_;
    seconds_t looked_at_fragments_{0};
    std::atomic<job*> job_{nullptr};
};

} // namespace strait::conntrack
