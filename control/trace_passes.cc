// SPDX-License-Identifier: BSD-3-Clause
#include "control/trace_passes.hh"

namespace strait::control {

trace_passes::trace_passes(const flow::surroundings& around, step_list& steps, trace_cache& caches,
                           trace_connections& connections, bool leaves)
    : around_{around}, steps_{steps}, caches_{caches}, connections_{connections}, leaves_{leaves}
{
    left_.fill(flow::max_passes_in_all);
    for (std::size_t i = 0; i <= flow::max_passes; ++i) {
        levels_.push_back(std::make_unique<level>(left_));
    }
}

void trace_passes::run(traced_frame& frame, const flow::key& k, const flow::header_layout& at,
                       flow::table_id begins, const flow::key* fields)
{
    dataplane::packet_slot& p = frame.get();
    p.destinations = 1; // nothing of it goes anywhere
    translate_and_run(0, p, at, k, {fields, around_.in.number, &frame.burst(), 0},
                      {.table = begins, .stack = {}, .set = {}});
    go_on(0);
}

void trace_passes::translate_and_run(std::size_t number, dataplane::packet_slot& p,
                                     const flow::header_layout& at, const flow::key& k,
                                     const flow::pass_state& state, const flow::pass_start& begin)
{
    flow::translate(around_.flows, k, *made_, &steps_, begin);
    caches_.look(around_, k, p.length, begin, number == 0);
    if (made_->words().empty()) {
        around_.in_counters.drop(made_->reason);
        return;
    }
    run_words(number, made_->words(), p, at, state);
}

void trace_passes::run_words(std::size_t number, std::span<const std::uint64_t> words,
                             dataplane::packet_slot& p, const flow::header_layout& at,
                             const flow::pass_state& state)
{
    level& here = *levels_[number];
    here.runs.run(words, p, at, state, around_);
    around_.lists.deliver_lists();
    // Among what goes on may be copies.
    if (here.asked.is_full() || here.copies.count > dataplane::burst::capacity / 2) {
        go_on(number);
        here.copies.clear();
    }
}

void trace_passes::go_on(std::size_t number)
{
    level& here = *levels_[number];
    flow::pass_stage& stage = here.asked;
    if (stage.count() == 0) {
        return;
    }
    if (number == flow::max_passes) {
        around_.in_counters.drop(dataplane::drop_reason::flow_too_complex, stage.count());
        stage.clear();
        return;
    }
    for (std::size_t i = 0; i < stage.count(); ++i) {
        auto& asked = stage.requests()[i];
        connections_.answer(asked, stage.goes_on(i), leaves_);
        if (asked.dropped) {
            around_.in_counters.drop(asked.reason);
            continue;
        }
        stage.complete(i);
        if (stage.goes_on(i)) {
            begin_pass(number, i, asked);
        }
        if (!stage.rest(i).empty()) {
            run_words(number + 1, stage.rest(i), *asked.p, asked.at, stage.state(i));
        }
    }
    stage.clear();
    go_on(number + 1);
}

void trace_passes::begin_pass(std::size_t number, std::size_t i, const conntrack::request& asked)
{
    level& here = *levels_[number];
    if (here.forks.count > dataplane::burst::capacity / 2) {
        go_on(number + 1);
        here.forks.clear();
    }
    dataplane::packet_slot* const p = flow::runner::copy(*asked.p, here.forks, around_);
    if (p == nullptr) {
        return;
    }
    p->destinations = 1;
    steps_.goes_on(here.asked.table(i), here.asked.fields(i));
    flow::pass_state state = here.asked.state(i);
    state.payload = &here.forks;
    translate_and_run(number + 1, *p, asked.at, here.asked.fields(i), state, here.asked.start(i));
}

} // namespace strait::control
