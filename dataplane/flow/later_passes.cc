// SPDX-License-Identifier: BSD-3-Clause
// The passes behind ct actions: all that the programs of one level asked for is tracked at once,
// then the packets are looked up in stages as a burst is, run, and so on to the next level.
#include "dataplane/flow/forward.hh"

#include <algorithm>

#include <rte_mbuf.h>

namespace strait::flow {

using dataplane::burst;
using dataplane::drop_reason;
using dataplane::packet_slot;
using dataplane::port_index;

void switcher::clear_copies() noexcept
{
    for (std::size_t i = 0; i <= deepest_; ++i) {
        levels_[i]->copies.clear();
        levels_[i]->forks.clear();
    }
    deepest_ = 0;
    for (packet_slot& p : late_->packets()) {
        rte_pktmbuf_free(p.mbuf);
        p.mbuf = nullptr;
    }
    late_->clear();
}

void switcher::make_room(std::size_t at, const surroundings& around) noexcept
{
    level& here = *levels_[at];
    if (here.asked.count() > 0) { // among them may be copies
        go_on(at, around);
    }
    if (here.copies.count > 0) {
        around.lists.deliver_lists();
        here.copies.clear();
    }
}

void switcher::track(std::span<conntrack::request> requests, dataplane::seconds_t now) noexcept
{
    if (tracking_ != nullptr) {
        tracking_->track(requests, now);
        return;
    }
    for (conntrack::request& r : requests) {
        r.answer = {.state = conntrack::state::tracked | conntrack::state::invalid,
                    .zone = r.asked.zone};
    }
}

// What programs of the level `from` asked for is done, and all that comes of it.
void switcher::go_on(std::size_t from, const surroundings& around) noexcept
{
    const std::size_t at = from + 1;
    pass_stage& stage = levels_[from]->asked;
    level& here = *levels_[at];
    deepest_ = std::max(deepest_, at);
    if (stage.has_fragments() && may_wait_) [[unlikely]] {
        stage.let_fragments_wait();
    }
    track(stage.requests(), around.context.now);
    if (stage.has_fragments()) [[unlikely]] {
        go_on_with_waiting(from, around);
    }
    for (std::size_t first = 0; first < stage.count(); first += burst::capacity) {
        const std::size_t last = std::min(first + burst::capacity, stage.count());
        if (here.forks.count > 0) { // of those before
            if (here.asked.count() > 0) {
                go_on(at, around);
            }
            around.lists.deliver_lists();
            here.forks.clear();
        }
        look_up(first, last, stage, here, around);
        const std::span candidates = std::span{here.candidates}.first(here.count);
        for (later_candidate& c : candidates) {
            cache_.prefetch_entry(c.asked);
        }
        port_index usual = dataplane::no_port; // a port that may be sent to
        for (later_candidate& c : candidates) {
            act(c, stage, at, usual, around);
        }
        for (std::size_t i = first; i < last; ++i) {
            if (!stage.rest(i).empty()) {
                run_rest(i, stage, at, around);
            }
        }
    }
    stage.clear();
    if (here.asked.count() > 0) {
        go_on(at, around);
    }
}

// What has waited for fragments that have come now comes behind them.
void switcher::go_on_with_waiting(std::size_t at, const surroundings& around) noexcept
{
    pass_stage& stage = levels_[at]->asked;
    const std::size_t before = stage.count();
    if (tracking_ == nullptr) {
        return;
    }
    for (const auto& [first, mbuf] : tracking_->released()) {
        const packet_slot& like = *stage.answered(first).p;
        if (late_->count == late_->slots.size() ||
            !from_mbuf(late_->slots[late_->count], mbuf, *late_)) {
            around.in_counters.drop(drop_reason::flow_too_complex);
            rte_pktmbuf_free(mbuf);
            continue;
        }
        packet_slot& p = late_->slots[late_->count];
        p.in_port = like.in_port;
        p.note = like.note;
        p.vlan = like.vlan;
        p.priority = like.priority;
        p.tagged = like.tagged;
        p.tags = like.tags;
        p.destinations = like.destinations;
        p.origin = static_cast<std::uint8_t>(burst::capacity + late_->count);
        ++late_->count;
        if (!stage.ask_as(first, p, *late_)) {
            around.in_counters.drop(drop_reason::flow_too_complex, p);
        }
    }
    track(stage.requests().subspan(before), around.context.now);
}

// Those of them that go on in tables become candidates.
void switcher::look_up(std::size_t first, std::size_t last, pass_stage& stage, level& here,
                       const surroundings& around) noexcept
{
    here.count = 0;
    std::uint64_t* words = here.questions.data();
    for (std::size_t i = first; i < last; ++i) {
        const conntrack::request& r = stage.answered(i);
        if (r.dropped) [[unlikely]] {
            if (!r.waits) {
                around.in_counters.drop(r.reason, *r.p);
            }
            continue;
        }
        stage.complete(i);
        if (!stage.goes_on(i)) {
            continue;
        }
        packet_slot* p = r.p;
        if (!stage.rest(i).empty()) {
            p = runner::copy(*p, here.forks, around);
            if (p == nullptr) {
                continue;
            }
        }
        later_candidate& c = here.candidates[here.count++];
        c.p = p;
        c.at = r.at;
        c.varying = stage.fields(i).words[varying_word];
        c.number = i;
        ask(c, stage, words, around);
        words += c.words;
    }
}

// Keys of few words are told apart by their number, as those of a first pass.

void switcher::ask(later_candidate& c, const pass_stage& stage, std::uint64_t* words,
                   const surroundings& around) noexcept
{
    const table_id table = stage.table(c.number);
    const auto more = stage.stack_and_set(c.number);
    c.layout = around.flows.layout_from(table);
    c.asked.words = words;
    c.asked.likely = nullptr;
    if (c.layout == nullptr) [[unlikely]] {
        c.asked.hash = 0;
        c.words = 0;
        return;
    }
    const key_layout& layout = *c.layout;
    const key& k = stage.fields(c.number);
    const std::uint64_t pass =
        cache::later_pass(around.in.bridge, table, stage.stack_size(c.number));
    c.words = layout.count + more.size();
    switch (c.words == layout.count ? layout.count : 0) {
    case 3:
        cache_.ask<3>(k, layout, pass, c.asked);
        break;
    case 4:
        cache_.ask<4>(k, layout, pass, c.asked);
        break;
    case 5:
        cache_.ask<5>(k, layout, pass, c.asked);
        break;
    case 6:
        cache_.ask<6>(k, layout, pass, c.asked);
        break;
    case 7:
        cache_.ask<7>(k, layout, pass, c.asked);
        break;
    default:
        cache_.ask(k, layout, pass, more, c.asked);
        break;
    }
    cache_.prefetch_bucket(c.asked);
}

void switcher::act(later_candidate& c, pass_stage& stage, std::size_t at, port_index& usual,
                   const surroundings& around) noexcept
{
    cache::entry* const found =
        c.layout == nullptr ? nullptr : cache_.find(c.asked, c.words, c.facts());
    // Actions are known by where they lie, which others may by now.
    const bool current =
        found != nullptr &&
        (cache::version_of(*found) == around.flows.version ||
         (c.words == c.layout->count && is_current(*found, c, *c.layout, around.flows)));
    if (!current) [[unlikely]] {
        translate_anew(c, found, stage, at, around);
        return;
    }
    cache_.counters.hits.add(1);
    cache_.count(*found, c.p->length, around.context.now);
    if (at == 1 && remembers_) {
        remember(c, stage, *found, around);
    }
    const auto program = cache::program_of(*found);
    const port_index to = only_output(program);
    if (to != dataplane::no_port) [[likely]] {
        if (to == usual && !around.out.is_full(to)) [[likely]] {
            c.p->tagged = dataplane::as_it_is;
            around.out.add(to, *c.p);
        } else if (runner::send(*c.p, to, around)) {
            usual = to;
        }
    } else if (program.empty()) {
        around.in_counters.drop(cache::reason_of(*found), *c.p);
    } else {
        pass_state state = stage.state(c.number);
        if (c.p != stage.answered(c.number).p) {
            state.payload = &levels_[at]->forks;
        }
        run(at, program, *c.p, c.at, state, around);
    }
}

void switcher::translate_anew(later_candidate& c, cache::entry* old, pass_stage& stage,
                              std::size_t at, const surroundings& around) noexcept
{
    look_up_rules(c, old, stage.fields(c.number), stage.start(c.number), c.words, around);
    if (made_->words().empty()) {
        around.in_counters.drop(made_->reason, *c.p);
        return;
    }
    pass_state state = stage.state(c.number);
    if (c.p != stage.answered(c.number).p) {
        state.payload = &levels_[at]->forks;
    }
    run(at, made_->words(), *c.p, c.at, state, around);
}

// The packet itself, behind the ct action.
void switcher::run_rest(std::size_t number, pass_stage& stage, std::size_t at,
                        const surroundings& around) noexcept
{
    const conntrack::request& r = stage.answered(number);
    if (!r.dropped) {
        levels_[at]->runs.run(stage.rest(number), *r.p, r.at, stage.rest_state(number), around);
        settle(at, around);
    }
}

} // namespace strait::flow
