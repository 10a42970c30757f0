// SPDX-License-Identifier: BSD-3-Clause
// Packets that a first pass does nothing with but to ask for their connection, and whose connection
// had another packet here before: their second pass is known (verdicts.hh), and no key is made of
// them. What is out of the ordinary goes the long way, with what comes behind it of its connection.
#include "dataplane/flow/short_way.hh"

#include "dataplane/conntrack/tracker_known.hh"
#include "dataplane/flow/ct_operation.hh"

#include <algorithm>

namespace strait::flow {

using dataplane::burst;
using dataplane::port_index;

void switcher::set_tracking(conntrack::tracking& t)
{
    tracking_ = &t;
    short_way_ = t.short_way();
    if (short_way_ != nullptr) {
        seats_ = std::make_unique<seats>();
    }
}

namespace {

// A ct action alone, behind which the packet goes on as it came: whatever else it may bring along
// would take more words.
bool only_asks(std::span<const std::uint64_t> program) noexcept
{
    const operation o = operation::of(program.front());
    constexpr unsigned fit =
        ct_flag::goes_on | ct_flag::knows | ct_flag::translates | ct_flag::of_port;
    return o.code == operation_code::ct && program.size() == 1 + words_of(o) &&
           (o.count & ~fit) == 0 && (o.count & ct_flag::goes_on) != 0;
}

// What is done at once behind it: other programs would want the packet's key.
bool is_short(std::span<const std::uint64_t> program) noexcept
{
    return program.empty() || only_output(program) != dataplane::no_port ||
           (program.size() == 1 && operation::of(program.front()).code == operation_code::normal);
}

verdicts::circumstances circumstances_of(const surroundings& around, std::uint32_t in_port,
                                         table_id table,
                                         const conntrack::known_connection& k) noexcept
{
    return {.in_port = in_port,
            .mark = k.mark,
            .table = table,
            .bridge = static_cast<std::uint8_t>(to_index(around.in.bridge)),
            .state = k.state};
}

} // namespace

void switcher::run_long(std::span<const std::uint64_t> program, dataplane::drop_reason reason,
                        candidate& c, const surroundings& around) noexcept
{
    if (!seats_) {
        run_first(program, reason, c, around);
        return;
    }
    if (seats_->count > 0) { // for which the cache may need the entry's place
        auto& kept = levels_[0]->running;
        std::ranges::copy(program, kept.begin());
        program = std::span{kept}.first(program.size());
        go_short_way(around);
    }
    const std::size_t asked = levels_[0]->asked.count();
    run_first(program, reason, c, around);
    note_long(asked, c);
}

void switcher::translate_long(candidate& c, std::size_t words, burst& b,
                              const surroundings& around) noexcept
{
    go_short_way(around);
    const std::size_t asked = levels_[0]->asked.count();
    // One that is stale; what went before may have taken its place.
    translate_anew(c, cache_.find(c.asked, words, c.facts()), b, around);
    note_long(asked, c);
}

void switcher::note_long(std::size_t asked, const candidate& c) noexcept
{
    if (levels_[0]->asked.count() != asked) {
        seats_->long_ones.add(*c.p);
    }
}

bool switcher::turn_to(std::span<const std::uint64_t> program, const surroundings& around) noexcept
{
    const std::size_t size = program.size();
    if (size < 2 || size > asking::longest || !only_asks(program)) {
        return false;
    }
    seats& here = *seats_;
    const std::span known = std::span{here.programs}.first(here.program_count);
    const auto found =
        std::ranges::find_if(known, [&](const asking& a) noexcept { return a.is(program); });
    if (found != known.end()) {
        here.last = &*found;
        return true;
    }
    const operation o = operation::of(program[0]);
    const auto table = static_cast<table_id>(o.b >> 16 & 0xfff);
    const key_layout* const behind = around.flows.layout_from(table);
    if (behind == nullptr) [[unlikely]] {
        return false;
    }
    const asking fresh{.words = {program[0], program[1], size > 2 ? program[2] : 0},
                       .size = static_cast<std::uint8_t>(size),
                       .by_state = behind->told_by_state,
                       .table = table,
                       .zone = conntrack::make_zone(o.a, (o.count & ct_flag::of_port) != 0),
                       .widened = behind->widened};
    if (known.size() == here.programs.size()) {
        go_short_way(around); // then there are none
    }
    asking& next = here.programs[here.program_count++];
    next = fresh;
    here.last = &next;
    return true;
}

// Packets with seats, one after the other. Where those of one entry go is looked at once, and what
// they carried is counted at once, for as long as nothing is delivered: that may bring another
// entry in its place.
class switcher::walk {
public:
    walk(switcher& s, const surroundings& around) noexcept
        : all_{s}, tracker_{*s.short_way_}, around_{around}, held_{tracker_.alone()}
    {}
    ~walk() { settle(); }
    walk(const walk&) = delete;
    walk& operator=(const walk&) = delete;

    // False: nothing has become of it.
    [[nodiscard, gnu::always_inline]] bool follow(const seat& s) noexcept
    {
        const dataplane::seconds_t now = around_.context.now;
        tracker_.enter(held_, s.by->zone);
        const conntrack::known_connection k = tracker_.meet(s.packet, now);
        if (k.of == nullptr) [[unlikely]] {
            return false;
        }
        const std::uint32_t kind = verdicts::kind_of(s.packet.tuple);
        const bool as_before = s.by == by_ && k.state == state_ && k.mark == mark_ && kind == kind_;
        if ((!as_before && !find(s, k, kind)) || !tracker_.follow(s.packet, k, now)) [[unlikely]] {
            return false;
        }
        dataplane::packet_slot& p = *s.c->p;
        ++packets_;
        bytes_ += p.length;
        if (open_ && !around_.out.is_full(to_)) [[likely]] {
            p.tagged = dataplane::as_it_is;
            around_.out.add(to_, p);
        } else {
            pass_on(s);
        }
        return true;
    }

private:
    // False: nobody knows where it goes.
    [[nodiscard]] bool find(const seat& s, const conntrack::known_connection& k,
                            std::uint32_t kind) noexcept
    {
        const verdicts& known = all_.seats_->known;
        const auto with = circumstances_of(around_, around_.in.number, s.by->table, k);
        const verdicts::versions flows{around_.flows.version, s.by->widened};
        cache::entry* found = nullptr;
        if (s.by->by_state) {
            found = known.find_common(kind, with, flows, all_.cache_);
        }
        const bool is_common = found != nullptr;
        if (!is_common) {
            found = known.find(k, with, flows, all_.cache_);
        }
        if (found == nullptr || (found != entry_ && !look_at(*found))) [[unlikely]] {
            return false;
        }
        by_ = is_common ? s.by : nullptr;
        state_ = k.state;
        mark_ = k.mark;
        kind_ = kind;
        return true;
    }
    // False: it may not hold any more.
    [[nodiscard]] bool look_at(cache::entry& e) noexcept
    {
        if (cache::version_of(e) != around_.flows.version) [[unlikely]] {
            return false;
        }
        settle();
        entry_ = &e;
        to_ = only_output(cache::program_of(e));
        open_ = to_ != dataplane::no_port && to_ == usual_;
        return true;
    }
    void settle() noexcept
    {
        if (packets_ > 0) {
            all_.cache_.count(*entry_, packets_, bytes_, around_.context.now);
            packets_ = 0;
            bytes_ = 0;
        }
    }
    // Before something is delivered, which may be tracked in its turn.
    void leave() noexcept
    {
        settle();
        held_.drop();
        entry_ = nullptr;
        by_ = nullptr;
        open_ = false;
    }
    void pass_on(const seat& s) noexcept
    {
        dataplane::packet_slot& p = *s.c->p;
        if (to_ != dataplane::no_port) {
            if (around_.out.is_full(to_)) {
                leave();
            }
            usual_ = runner::send(p, to_, around_) ? to_ : usual_;
            open_ = entry_ != nullptr && to_ == usual_;
            return;
        }
        const auto program = cache::program_of(*entry_);
        if (program.empty()) {
            if (around_.in_counters.watcher != nullptr) { // who may copy all of the packet
                held_.drop();
            }
            around_.in_counters.drop(cache::reason_of(*entry_), p);
            return;
        }
        leave();
        all_.deepest_ = std::max<std::size_t>(all_.deepest_, 1);
        const auto origin = static_cast<std::uint8_t>(&p - all_.burst_->slots.data());
        all_.run(1, program, p, s.c->at, {nullptr, around_.in.number, all_.burst_, origin},
                 around_);
    }

    switcher& all_;
    conntrack::tracker& tracker_;
    const surroundings& around_;
    conntrack::lock_holder held_;
    cache::entry* entry_{nullptr};         // that the last packet had; null: none
    port_index to_{dataplane::no_port};    // where its packets go; no_port: its program is another
    port_index usual_{dataplane::no_port}; // a port that may be sent to
    bool open_{false};                     // to_ is
    std::uint32_t packets_{0};             // of the entry, to be counted
    std::uint32_t bytes_{0};
    // Whose packets have the same entry, whatever their connection; null: nobody's.
    const asking* by_{nullptr};
    std::uint32_t mark_{0};
    std::uint32_t kind_{0};
    std::uint8_t state_{0};
};

// What one packet waits for is fetched while others are looked at.
void switcher::go_short_way(const surroundings& around) noexcept
{
    if (!seats_ || seats_->count == 0) [[likely]] {
        return;
    }
    const std::span all = std::span{seats_->all}.first(seats_->count);
    seats_->count = 0;
    seats_->program_count = 0;
    seats_->last = nullptr;
    for (seat& s : all) {
        s.plain = conntrack::read_plain(*s.c->p, s.by->zone, s.packet);
        if (s.plain) [[likely]] {
            short_way_->prefetch(s.packet);
        }
    }
    for (seat& s : all) {
        if (s.plain) [[likely]] {
            short_way_->look_for(s.packet);
            if (!s.by->by_state) {
                seats_->known.prefetch(s.packet.likely);
            }
        }
    }
    long_flows& long_ones = seats_->long_ones;
    std::size_t others = 0;
    {
        walk w{*this, around};
        for (const seat& s : all) {
            if (s.plain && !long_ones.has(s.packet) && w.follow(s)) [[likely]] {
                continue;
            }
            seats_->others[others++] = &s;
            if (s.plain) {
                long_ones.add(s.packet);
            } else {
                long_ones.add_unknown(*s.c->p);
            }
        }
    }
    cache_.counters.hits.add(all.size() - others);
    short_way_->counters.found.add(all.size() - others);
    for (const seat* const s : std::span{seats_->others}.first(others)) {
        run_first(s->by->program(), {}, *s->c, around);
    }
}

// The second pass of a packet that went the long way: the next one of its connection may go the
// short one.
void switcher::remember(const later_candidate& c, const pass_stage& stage, const cache::entry& e,
                        const surroundings& around) noexcept
{
    const conntrack::request& r = stage.answered(c.number);
    if ((r.answer.state & conntrack::state::established) == 0 || !c.layout->told_by_connection ||
        !stage.is_plain(c.number) || !cache::is_for_all(e) || !is_short(cache::program_of(e))) {
        return;
    }
    conntrack::plain_packet packet;
    if (!conntrack::read_plain(*c.p, r.asked.zone, packet)) {
        return;
    }
    short_way_->look_for(packet);
    conntrack::lock_holder held{short_way_->alone()};
    short_way_->enter(held, r.asked.zone);
    const conntrack::known_connection k = short_way_->meet(packet, around.context.now);
    if (k.of == nullptr || k.state != r.answer.state || k.mark != r.answer.mark) {
        return; // it has changed since
    }
    const auto in_port = static_cast<std::uint32_t>(stage.fields(c.number).number(field::in_port));
    const auto with = circumstances_of(around, in_port, stage.table(c.number), k);
    const cache::handle entry = cache_.handle_of(e);
    if (c.layout->told_by_state) {
        seats_->known.put_common(verdicts::kind_of(packet.tuple), with, around.flows.version,
                                 entry);
    }
    seats_->known.put(k, with, around.flows.version, entry);
}

} // namespace strait::flow
