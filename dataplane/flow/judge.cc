// SPDX-License-Identifier: BSD-3-Clause
// What is about to leave by a port that has rules for that: a first pass in hidden tables, whose
// only end beside a drop is the port itself. Packets stay where they are, on whatever lists.
#include "dataplane/flow/forward.hh"
#include "dataplane/remote.hh"

#include <algorithm>
#include <cstring>

namespace strait::flow {

using dataplane::burst;
using dataplane::drop_reason;
using dataplane::packet;
using dataplane::packet_slot;

namespace {

// In place of `tagged` until a packet was let out.
constexpr std::uint8_t not_let_out = 3;
static_assert(not_let_out != dataplane::as_it_is);

} // namespace

struct switcher::as_it_came {
    packet* p;
    std::uint16_t destinations;
    std::uint8_t tagged;
};

// Of a packet whose headers lie deeper than was read of it, another one with more of it: its own
// segments are its burst's, which nobody knows here. What is remote knows its own: the packet stays
// itself. Null: they cannot be had, and nobody can say what the packet is.
packet_slot* switcher::with_all_headers(packet_slot& p, header_layout& at) noexcept
{
    if (extract(p, key_, at)) [[likely]] {
        return &p;
    }
    if (p.remote != nullptr) {
        dataplane::lengthen_head(p, *aside_);
        return extract(p, key_, at) ? &p : nullptr;
    }
    if (p.segment_count == 0 || p.mbuf != nullptr || aside_->count == aside_->slots.size() ||
        aside_->segments_used + p.segment_count > aside_->segments.size()) {
        return nullptr;
    }
    packet_slot& more = aside_->slots[aside_->count++];
    static_cast<packet&>(more) = p;
    more.data = more.head.data();
    more.head_length = std::min(p.head_length, std::uint16_t{dataplane::longest_head});
    std::memcpy(more.data, p.data, more.head_length);
    more.segments = aside_->segments.data() + aside_->segments_used;
    std::copy_n(p.segments, p.segment_count,
                aside_->segments.begin() + static_cast<std::ptrdiff_t>(aside_->segments_used));
    aside_->segments_used += p.segment_count;
    dataplane::lengthen_head(more, *aside_);
    return extract(more, key_, at) ? &more : nullptr;
}

bool switcher::ask_judgement(packet& p, candidate& c, std::uint64_t* words) noexcept
{
    packet_slot* const whole = with_all_headers(static_cast<packet_slot&>(p), c.at);
    c.p = whole != nullptr ? whole : &static_cast<packet_slot&>(p);
    c.p->tagged = not_let_out;
    if (whole == nullptr) {
        c.asked.words = nullptr;
        return false;
    }
    c.varying = key_.words[varying_word];
    c.asked.words = words;
    cache_.ask(key_, *layout_, pass_, c.asked);
    cache_.prefetch_bucket(c.asked);
    return true;
}

void switcher::judge_one(candidate& c, std::uint8_t origin, const surroundings& around) noexcept
{
    cache::entry* const found = cache_.find(c.asked, layout_->count, c.facts());
    std::span<const std::uint64_t> program;
    drop_reason reason{};
    if (found != nullptr && is_current(*found, c, *layout_, around.flows)) [[likely]] {
        cache_.counters.hits.add(1);
        cache_.count(*found, c.p->length, around.context.now);
        program = cache::program_of(*found);
        reason = cache::reason_of(*found);
    } else {
        (void)extract(*c.p, key_, c.at);
        look_up_rules(c, found, key_, {.table = begins_, .stack = {}, .set = {}}, layout_->count,
                      around);
        program = made_->words();
        reason = made_->reason;
    }
    if (program.empty()) {
        around.in_counters.drop(reason, *c.p);
    } else {
        run(0, program, *c.p, c.at, {nullptr, around.in.number, aside_.get(), origin}, around);
    }
}

std::size_t switcher::judge(std::span<packet*> packets, const surroundings& around) noexcept
{
    constexpr table_id begins = first_table(stage::acl_to);
    if (around.flows.layout_from(begins) == nullptr) {
        return packets.size();
    }
    begin_at(begins, around);
    clear_copies();
    may_wait_ = false; // a place on a list cannot be kept
    remembers_ = false;
    aside_->clear();
    passes_left_.fill(max_passes_in_all);
    key_.clear();
    key_.set(field::in_port, around.in.number);
    std::array<as_it_came, burst::capacity> all;
    const std::span candidates = std::span{*candidates_}.first(packets.size());
    for (std::size_t i = 0; i < packets.size(); ++i) {
        packet& p = *packets[i];
        all[i] = {&p, p.destinations, p.tagged};
        if (!ask_judgement(p, candidates[i], asked_->data() + i * layout_->count)) [[unlikely]] {
            if (p.remote != nullptr && p.remote->unreadable) {
                p.tagged = dataplane::as_it_is; // none can send it, and the sender is to blame
            } else {
                around.in_counters.drop(drop_reason::flow_too_complex, p);
            }
        }
    }
    for (candidate& c : candidates) {
        if (c.asked.words != nullptr) [[likely]] {
            cache_.prefetch_entry(c.asked);
        }
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (candidates[i].asked.words == nullptr) [[unlikely]] {
            continue;
        }
        judge_one(candidates[i], static_cast<std::uint8_t>(i), around);
    }
    if (levels_[0]->asked.count() > 0) {
        go_on(0, around);
    }
    around.out.clear();
    std::size_t stay = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (candidates[i].p->tagged == dataplane::as_it_is) {
            packets[stay++] = all[i].p;
        }
    }
    // From the last: one packet may be there twice.
    for (std::size_t i = candidates.size(); i-- > 0;) {
        all[i].p->destinations = all[i].destinations;
        all[i].p->tagged = all[i].tagged & 3;
    }
    return stay;
}

} // namespace strait::flow
