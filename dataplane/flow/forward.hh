// SPDX-License-Identifier: BSD-3-Clause
// Switching by flows: a burst's packets are looked up in the worker's cache in stages, translated
// where it has none, and run through their programs; those that ct actions send on are looked up
// again, all that a burst has at once. Knows no queue; what leaves is put on lists.
#pragma once

#include "dataplane/conntrack/tracking.hh"
#include "dataplane/endpoint/error_limit.hh"
#include "dataplane/flow/cache.hh"
#include "dataplane/flow/extract.hh"
#include "dataplane/flow/passes.hh"
#include "dataplane/forward.hh"
#include "dataplane/tunnel/notes.hh"

#include <algorithm>
#include <array>
#include <memory>
#include <span>

namespace strait::flow {

// What a worker does for the flows while it forwards.
class delivery {
public:
    virtual ~delivery() = default;
    // Delivers what is on the lists, which are empty then.
    virtual void deliver_lists() noexcept = 0;
};

// Is told by which ways a packet went that are found when it is there.
class run_observer {
public:
    virtual ~run_observer() = default;
    virtual void took(const bucket_group& of, std::size_t bucket, std::uint64_t hash) = 0;
    virtual void met(const packet_meter& m, bool passes) = 0;
};

struct surroundings {
    const pipeline& flows;
    const dataplane::port_config& in;
    const dataplane::forward_context& context;
    dataplane::port_counters& in_counters;
    dataplane::output_lists& out;
    delivery& lists;
    rte_mempool* pool;             // for copies of packets whose payload cannot be shared
    tunnel::notes* notes{nullptr}; // of packets' tunnels; null: there are none
    dataplane::worker_index worker{};
    std::uint64_t tsc{0};                   // of the iteration
    endpoint::error_limit* errors{nullptr}; // null: any number is sent
    run_observer* watching{nullptr};        // nothing is counted then, and no meter's credit taken
};

// Runs a program on a packet, of which `at` tells the headers. `copies` is room for the copies that
// are made of it; they stay there until the lists are delivered. At a ct action it ends, and the
// rest is `asked`'s to be run later.
class runner {
public:
    runner(dataplane::burst& copies, ct_taker& asked) noexcept : copies_{copies}, asked_{asked} {}
    void run(std::span<const std::uint64_t> program, dataplane::packet_slot& p,
             const header_layout& at, const pass_state& state, const surroundings& around) noexcept;
    // The frame as it stands, by one port. False: it cannot be sent there.
    static bool send(dataplane::packet_slot& p, dataplane::port_index to,
                     const surroundings& around) noexcept;
    // Null: there is no room, which is counted.
    [[nodiscard]] static dataplane::packet_slot*
    copy(dataplane::packet_slot& p, dataplane::burst& to, const surroundings& around) noexcept;

private:
    struct frame_state;
    enum class use : std::uint8_t { none, as_it_is, switched };

    void run(std::span<const std::uint64_t> program, frame_state& f,
             const surroundings& around) noexcept;
    [[nodiscard]] dataplane::packet_slot* copy(dataplane::packet_slot& p,
                                               const surroundings& around) noexcept;
    [[nodiscard]] bool make_own(frame_state& f, use next, const surroundings& around) noexcept;
    [[nodiscard]] bool send_cut(dataplane::packet_slot& p, std::uint16_t longest,
                                dataplane::port_index to, const surroundings& around) noexcept;
    void ask(frame_state& f, const ct_operation& what, std::span<const std::uint64_t> rest,
             const surroundings& around) noexcept;
    [[nodiscard]] bool switch_frame(frame_state& f, dataplane::port_index from, bool last,
                                    const surroundings& around) noexcept;
    static void flood(frame_state& f, dataplane::port_index from,
                      const surroundings& around) noexcept;
    void look_deeper(frame_state& f) noexcept;
    void change(frame_state& f, std::span<const std::uint64_t> changes) noexcept;
    [[nodiscard]] bool change_tunnel(frame_state& f, std::span<const std::uint64_t> changes,
                                     const surroundings& around) noexcept;
    [[nodiscard]] bool run_copy(std::span<const std::uint64_t> program, bool last, frame_state& f,
                                const surroundings& around) noexcept;
    [[nodiscard]] bool choose(std::span<const std::uint64_t> ways, bool last, frame_state& f,
                              const surroundings& around) noexcept;
    [[nodiscard]] bool pass(const packet_meter& m, const frame_state& f,
                            const surroundings& around) noexcept;
    void keep_head(const dataplane::packet& p) noexcept;
    void tell_time_exceeded(const endpoint::ip_address& from, const surroundings& around) noexcept;

    dataplane::burst& copies_;
    ct_taker& asked_;
    key value_; // both are zero, but while a change is made
    key mask_;
    bool accounted_{false};            // the packet left, or was counted as a drop
    dataplane::drop_reason why_not_{}; // if it is not
    bool told_{false};                 // the sender, by what runs now
    dataplane::packet kept_{};
    std::array<std::byte, dataplane::head_copy> kept_head_{};
};

// One worker's.
class switcher {
public:
    // Memory for the cache: see cache.
    explicit switcher(std::size_t cache_bytes);
    // One more, with the same entries: for packets that go on while the first one's burst is not
    // done yet.
    explicit switcher(switcher& first);
    ~switcher();
    switcher(const switcher&) = delete;
    switcher& operator=(const switcher&) = delete;

    // Who answers ct actions; without, no packet has a valid connection.
    void set_tracking(conntrack::tracking& t);

    void forward(dataplane::burst& b, const surroundings& around) noexcept;
    // Of packets that are about to leave by `around.in`, at most a burst's, those that the bridge's
    // hidden tables let go there stay, at the front, as they were; the others are counted at that
    // port. Returns how many stay. `around.out` is empty before and after; nothing is put on
    // lists otherwise. Not within forward() of the same one.
    [[nodiscard]] std::size_t judge(std::span<dataplane::packet*> packets,
                                    const surroundings& around) noexcept;
    [[nodiscard]] cache& entries() noexcept { return cache_; }
    [[nodiscard]] const cache& entries() const noexcept { return cache_; }

private:
    struct candidate {
        dataplane::packet_slot* p;
        std::uint64_t varying; // the key's word
        header_layout at;
        cache::question asked;

        [[nodiscard]] cache::packet_facts facts() const noexcept
        {
            constexpr std::uint32_t longest = 0xffff; // that keys and tests tell
            return {varying, std::min(p->length, longest)};
        }
    };
    // Of a pass behind a ct action.
    struct later_candidate : candidate {
        const key_layout* layout; // null: nobody knows how to tell its flow
        std::size_t words;        // of the question
        std::size_t number;       // in the stage
    };
    struct level;

    static void read_note(const dataplane::packet_slot& p, key& to,
                          const surroundings& around) noexcept;
    template <std::size_t count>
    void forward_by(dataplane::burst& b, const surroundings& around) noexcept;
    // Where packets of a port begin.
    void begin_at(table_id table, const surroundings& around) noexcept;
    // What is to leave: judge.cc.
    struct as_it_came;
    [[nodiscard]] dataplane::packet_slot* with_all_headers(dataplane::packet_slot& p,
                                                           header_layout& at) noexcept;
    [[nodiscard]] bool ask_judgement(dataplane::packet& p, candidate& c,
                                     std::uint64_t* words) noexcept;
    void judge_one(candidate& c, std::uint8_t origin, const surroundings& around) noexcept;

    // Whether an entry holds among the flows there are; then it is of their version.
    static bool is_current(cache::entry& e, const candidate& c, const key_layout& layout,
                           const pipeline& flows) noexcept;
    void run_first(std::span<const std::uint64_t> program, dataplane::drop_reason reason,
                   candidate& c, const surroundings& around) noexcept;
    void run(std::size_t at, std::span<const std::uint64_t> program, dataplane::packet_slot& p,
             const header_layout& headers, const pass_state& state,
             const surroundings& around) noexcept;
    void translate_anew(candidate& c, cache::entry* old, dataplane::burst& b,
                        const surroundings& around) noexcept;
    void look_up_rules(candidate& c, cache::entry* old, const key& k, const pass_start& start,
                       std::size_t words, const surroundings& around) noexcept;

    // The short way of connections that are known: short_way.cc.
    struct asking;
    struct seat;
    struct seats;
    [[nodiscard]] bool take_seat(std::span<const std::uint64_t> program, candidate& c,
                                 const surroundings& around) noexcept;
    // The next seat's packet has this program. False: it has no place there.
    [[nodiscard]] bool turn_to(std::span<const std::uint64_t> program,
                               const surroundings& around) noexcept;
    // A packet of the burst that has no seat, and may ask for its connection, comes behind those
    // that have one; then those of its flow go the long way, too.
    void run_long(std::span<const std::uint64_t> program, dataplane::drop_reason reason,
                  candidate& c, const surroundings& around) noexcept;
    void translate_long(candidate& c, std::size_t words, dataplane::burst& b,
                        const surroundings& around) noexcept;
    void note_long(std::size_t asked, const candidate& c) noexcept;
    class walk;
    void go_short_way(const surroundings& around) noexcept;
    void remember(const later_candidate& c, const pass_stage& stage, const cache::entry& e,
                  const surroundings& around) noexcept;

    // Later passes: later_passes.cc. Levels are counted by the ct actions before.
    void settle(std::size_t at, const surroundings& around) noexcept;
    void make_room(std::size_t at, const surroundings& around) noexcept;
    void go_on(std::size_t from, const surroundings& around) noexcept;
    void track(std::span<conntrack::request> requests, dataplane::seconds_t now) noexcept;
    void look_up(std::size_t first, std::size_t last, pass_stage& stage, level& here,
                 const surroundings& around) noexcept;
    void ask(later_candidate& c, const pass_stage& stage, std::uint64_t* words,
             const surroundings& around) noexcept;
    void act(later_candidate& c, pass_stage& stage, std::size_t at, dataplane::port_index& usual,
             const surroundings& around) noexcept;
    void translate_anew(later_candidate& c, cache::entry* old, pass_stage& stage, std::size_t at,
                        const surroundings& around) noexcept;
    void run_rest(std::size_t number, pass_stage& stage, std::size_t at,
                  const surroundings& around) noexcept;
    void go_on_with_waiting(std::size_t at, const surroundings& around) noexcept;
    void clear_copies() noexcept;

    explicit switcher(std::shared_ptr<cache> entries);

    std::shared_ptr<cache> shared_;
    cache& cache_;
    conntrack::tracking* tracking_{nullptr};
    conntrack::tracker* short_way_{nullptr};
    std::unique_ptr<seats> seats_; // null: nobody goes the short way
    bool remembers_{false};        // packets like these may have seats
    key key_;                      // of one packet at a time
    std::unique_ptr<std::array<candidate, dataplane::burst::capacity>> candidates_;
    std::unique_ptr<std::array<std::uint64_t, key_words * dataplane::burst::capacity>> asked_;
    std::unique_ptr<translation> made_;
    key tunnel_;                       // what a packet out of a tunnel brings into its first pass
    dataplane::burst* burst_{nullptr}; // that is forwarded
    table_id begins_{0};               // where its packets begin,
    const key_layout* layout_{};       // by which layout,
    std::uint64_t pass_{0};            // and which pass that is
    std::unique_ptr<dataplane::burst> aside_{new dataplane::burst}; // judge()'s
    std::unique_ptr<dataplane::burst> late_{new dataplane::burst};  // fragments that had waited
    bool may_wait_{false};
    pass_stage::budget passes_left_{};
    std::size_t deepest_{0}; // level that was come to since copies were cleared
    std::array<std::unique_ptr<level>, max_passes + 1> levels_;
};

// What belongs to the programs of one level.
struct switcher::level {
    // Of the last level nothing goes on.
    struct nobody final : ct_taker {
        bool take(dataplane::packet_slot&, const pass_state&, const ct_operation&,
                  std::span<const std::uint64_t>) noexcept override
        {
            return false;
        }
    };

    level(pass_stage::budget& left, bool last) noexcept
        : asked{left}, runs{copies, last ? static_cast<ct_taker&>(none) : asked}
    {}

    dataplane::burst copies; // that its programs make
    pass_stage asked;        // what they ask for
    nobody none;
    runner runs;
    std::array<std::uint64_t, max_program> running;
    // Of packets that go on here: those that something is left for, too, and all of them.
    dataplane::burst forks;
    std::size_t count{0};
    std::array<later_candidate, dataplane::burst::capacity> candidates;
    std::array<std::uint64_t, key_words * dataplane::burst::capacity + 4 * max_program> questions;
};

// After a program of a level: the next one finds half of the room free.
inline void switcher::settle(std::size_t at, const surroundings& around) noexcept
{
    const level& here = *levels_[at];
    if (here.asked.is_full() || here.copies.count > dataplane::burst::capacity / 2 ||
        here.copies.segments_used > dataplane::burst::segment_capacity / 2) [[unlikely]] {
        make_room(at, around);
    }
}

// Where a program of one output sends; no_port: it is another.
[[nodiscard]] inline dataplane::port_index
only_output(std::span<const std::uint64_t> program) noexcept
{
    if (program.size() == 1) [[likely]] {
        const operation o = operation::of(program.front());
        if (o.code == operation_code::output) [[likely]] {
            return dataplane::port_index{static_cast<std::uint16_t>(o.b)};
        }
    }
    return dataplane::no_port;
}

} // namespace strait::flow
