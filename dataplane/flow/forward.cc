// SPDX-License-Identifier: BSD-3-Clause
// The stages of a burst among flows, and the running of programs.
#include "dataplane/flow/forward.hh"

#include "dataplane/endpoint/messages.hh"
#include "dataplane/flow/cut.hh"
#include "dataplane/flow/liveness.hh"
#include "dataplane/flow/rewrite.hh"
#include "dataplane/flow/short_way.hh"
#include "dataplane/guard/seen_addresses.hh"
#include "dataplane/parse.hh"

#include <algorithm>
#include <cstring>
#include <utility>

#include <rte_cycles.h>

namespace strait::flow {

using dataplane::burst;
using dataplane::drop_reason;
using dataplane::packet_slot;
using dataplane::port_config;
using dataplane::port_index;
using dataplane::to_index;

// A packet, or a copy of it, on its way through a program.
struct runner::frame_state {
    packet_slot* p;
    header_layout at;
    use used; // by what is on a list
    pass_state state;
};

packet_slot* runner::copy(packet_slot& p, burst& to, const surroundings& around) noexcept
{
    packet_slot* const made = dataplane::clone_packet(p, to, around.pool);
    if (made == nullptr) {
        around.in_counters.drop(
            p.remote == nullptr ? drop_reason::flow_too_complex : drop_reason::no_memory, p);
    }
    return made;
}

packet_slot* runner::copy(packet_slot& p, const surroundings& around) noexcept
{
    packet_slot* const made = copy(p, copies_, around);
    accounted_ = accounted_ || made == nullptr;
    return made;
}

// Before a frame is changed, or used in another way than before: what is on lists stays as it is.
bool runner::make_own(frame_state& f, use next, const surroundings& around) noexcept
{
    if (f.used != use::none && f.used != next) {
        packet_slot* const fresh = copy(*f.p, around);
        if (fresh == nullptr) {
            return false;
        }
        f.p = fresh;
        f.state.payload = &copies_;
    }
    f.used = next;
    return true;
}

bool runner::send(packet_slot& p, port_index to, const surroundings& around) noexcept
{
    const port_config* const port = around.context.config->port(to);
    if (port == nullptr || port->bridge != around.in.bridge) { // since the program was made
        around.in_counters.drop(drop_reason::no_destination, p);
        return false;
    }
    if (around.out.is_full(to)) {
        around.lists.deliver_lists();
    }
    p.tagged = dataplane::as_it_is;
    around.out.add(to, p);
    return true;
}

// A copy's first bytes: what comes after has all of the frame.
bool runner::send_cut(packet_slot& p, std::uint16_t longest, port_index to,
                      const surroundings& around) noexcept
{
    packet_slot* const some = copy(p, around);
    if (some == nullptr) {
        return false;
    }
    cut(*some, longest, copies_);
    (void)send(*some, to, around);
    return true;
}

void runner::flood(frame_state& f, port_index from, const surroundings& around) noexcept
{
    // At once to all: what is delivered to one must not be its last.
    if (around.out.any_full()) {
        around.lists.deliver_lists();
    }
    const auto& config = *around.context.config;
    const port_config* const in = config.port(from); // null: it went since the program was made
    if (in != nullptr && !dataplane::may_flood(*f.p, *in, around.context, around.in_counters)) {
        return;
    }
    bool sent = false;
    for (const port_index member : config.bridges[to_index(around.in.bridge)]->members) {
        const port_config& port = *config.ports[to_index(member)];
        if (member != from && port.passes() && (in == nullptr || !in->is_apart_from(port))) {
            (void)send(*f.p, member, around);
            sent = true;
        }
    }
    if (!sent) {
        around.in_counters.drop(drop_reason::no_destination, *f.p);
    }
}

// Before headers are changed: they may lie deeper than was looked for the flow's sake.
void runner::look_deeper(frame_state& f) noexcept
{
    if (f.at.looked_at != depth::transport) {
        (void)extract(*f.p, value_, f.at);
        value_.clear();
    }
}

// Switching notes a VLAN in a packet, and takes a priority tag out of it: what comes after has the
// frame as it was.
bool runner::switch_frame(frame_state& f, port_index from, bool last,
                          const surroundings& around) noexcept
{
    packet_slot* p = f.p;
    if (f.used != use::none || (!last && f.at.tags > 0)) {
        p = copy(*f.p, around);
        if (p == nullptr) {
            return false;
        }
    } else {
        f.used = use::switched;
    }
    const port_config* const in = around.context.config->port(from);
    if (in == nullptr || in->bridge != around.in.bridge) { // since the program was made
        around.in_counters.drop(drop_reason::no_destination, *p);
        return true;
    }
    if (around.out.any_full()) {
        around.lists.deliver_lists();
    }
    dataplane::forward_one(*p, *in, around.context, around.in_counters, around.out);
    return true;
}

void runner::change(frame_state& f, std::span<const std::uint64_t> changes) noexcept
{
    look_deeper(f);
    for (std::size_t i = 0; i < changes.size(); i += words_per_change) {
        const std::size_t word = changes[i];
        value_.words[word] = (value_.words[word] & ~changes[i + 2]) | changes[i + 1];
        mask_.words[word] |= changes[i + 2];
    }
    // Of later fragments and of what is cut short not all can be set: they go as they are.
    (void)set_headers(*f.p, f.at, value_, mask_);
    for (std::size_t i = 0; i < changes.size(); i += words_per_change) {
        value_.words[changes[i]] = 0;
        mask_.words[changes[i]] = 0;
    }
}

bool runner::change_tunnel(frame_state& f, std::span<const std::uint64_t> changes,
                           const surroundings& around) noexcept
{
    if (around.notes == nullptr) {
        return true;
    }
    const std::uint16_t added = around.notes->add_copy(f.p->note);
    f.p->note = static_cast<std::uint16_t>((f.p->note & dataplane::packet_note::queue) | added);
    if (added == tunnel::notes::none) {
        accounted_ = true;
        around.in_counters.drop(drop_reason::flow_too_complex, *f.p);
        return false;
    }
    for (std::size_t i = 0; i < changes.size(); i += words_per_change) {
        around.notes->change(added, changes[i], changes[i + 1], changes[i + 2]);
    }
    return true;
}

// What follows is to have the frame as it is, unless this is the last.
bool runner::run_copy(std::span<const std::uint64_t> program, bool last, frame_state& f,
                      const surroundings& around) noexcept
{
    if (last) {
        run(program, f, around);
        return true;
    }
    packet_slot* const other = copy(*f.p, around);
    if (other == nullptr) {
        return false;
    }
    frame_state inner{other, f.at, use::none, f.state};
    inner.state.payload = &copies_;
    run(program, inner, around);
    return true;
}

// By the headers as they are by now.
bool runner::choose(std::span<const std::uint64_t> ways, bool last, frame_state& f,
                    const surroundings& around) noexcept
{
    const auto& group = *reinterpret_cast<const bucket_group*>(ways[0]);
    std::uint64_t hash = 0;
    if (group.type() == group_type::select) {
        (void)extract(*f.p, value_, f.at);
        hash = bucket_group::join(ways[1], group.hash_of_headers(value_));
        value_.clear();
    }
    const std::size_t taken =
        group.choose(hash, liveness{around.flows, *around.context.config, around.in.bridge});
    if (around.watching != nullptr) {
        around.watching->took(group, taken, hash);
    } else if (taken != bucket_group::no_bucket) {
        group.count(around.worker, taken, f.p->length);
    }
    if (taken == bucket_group::no_bucket) {
        why_not_ = drop_reason::no_live_bucket;
        return true;
    }
    for (std::size_t i = words_of({operation_code::choose, 0, 0, 0}); i < ways.size();) {
        const operation way = operation::of(ways[i++]);
        if (way.a == taken) {
            return run_copy(ways.subspan(i, way.b), last, f, around);
        }
        i += way.b;
    }
    return true;
}

bool runner::pass(const packet_meter& m, const frame_state& f, const surroundings& around) noexcept
{
    const bool passes = around.watching != nullptr ? m.would_pass(*f.p, around.tsc)
                                                   : m.pass(around.worker, *f.p, around.tsc);
    if (around.watching != nullptr) {
        around.watching->met(m, passes);
    }
    if (!passes) {
        accounted_ = true;
        around.in_counters.drop(drop_reason::metered, *f.p);
    }
    return passes;
}

void runner::keep_head(const dataplane::packet& p) noexcept
{
    kept_.data = kept_head_.data();
    kept_.head_length = std::min<std::uint16_t>(p.head_length, dataplane::head_copy);
    kept_.note = p.note;
    kept_.origin = p.origin;
    std::memcpy(kept_.data, p.data, kept_.head_length);
}

namespace {

// Back to where a packet's tunnel came from, for ports whose far end flows tell.
std::uint16_t note_back(tunnel::notes& notes, std::uint16_t note) noexcept
{
    using enum field;
    key came;
    notes.read(note, came);
    key back;
    for (const auto& [from, to] :
         {std::pair{tun_id, tun_id}, std::pair{tun_src, tun_dst}, std::pair{tun_dst, tun_src},
          std::pair{tun_ipv6_src, tun_ipv6_dst}, std::pair{tun_ipv6_dst, tun_ipv6_src}}) {
        back.set(to, came.get(from));
    }
    return notes.add(back);
}

} // namespace

// To the port that the packet came from.
void runner::tell_time_exceeded(const endpoint::ip_address& from,
                                const surroundings& around) noexcept
{
    if (told_ || copies_.count == copies_.slots.size()) {
        return;
    }
    packet_slot& answer = copies_.slots[copies_.count];
    if ((around.errors != nullptr && !around.errors->has_one(around.in.index, around.tsc)) ||
        !endpoint::make_time_exceeded(answer, kept_, from)) {
        return;
    }
    if (around.in.tunnel && around.notes != nullptr) {
        answer.note = note_back(*around.notes, kept_.note);
        if (answer.note == tunnel::notes::none) {
            return;
        }
    }
    if (around.errors != nullptr) {
        (void)around.errors->take(around.in.index, around.tsc);
    }
    told_ = true;
    ++copies_.count;
    answer.in_port = around.in.index;
    answer.origin = kept_.origin;
    (void)send(answer, around.in.index, around);
}

void runner::run(std::span<const std::uint64_t> program, frame_state& f,
                 const surroundings& around) noexcept
{
    for (std::size_t i = 0; i < program.size();) {
        const operation o = operation::of(program[i++]);
        switch (o.code) {
        case operation_code::output_cut:
            if (f.p->length > o.a) {
                if (!send_cut(*f.p, o.a, port_index{static_cast<std::uint16_t>(o.b)}, around)) {
                    return;
                }
                break;
            }
            [[fallthrough]];
        case operation_code::output:
            accounted_ = true;
            if (!make_own(f, use::as_it_is, around)) {
                return;
            }
            (void)send(*f.p, port_index{static_cast<std::uint16_t>(o.b)}, around);
            break;
        case operation_code::flood:
            accounted_ = true;
            if (!make_own(f, use::as_it_is, around)) {
                return;
            }
            flood(f, port_index{o.a}, around);
            break;
        case operation_code::normal:
            accounted_ = true;
            if (!switch_frame(f, port_index{o.a}, i == program.size(), around)) {
                return;
            }
            break;
        case operation_code::set:
            if (!make_own(f, use::none, around)) {
                return;
            }
            change(f, program.subspan(i, o.count * words_per_change));
            i += o.count * words_per_change;
            break;
        case operation_code::set_tunnel:
            if (!make_own(f, use::none, around) ||
                !change_tunnel(f, program.subspan(i, o.count * words_per_change), around)) {
                return;
            }
            i += o.count * words_per_change;
            break;
        case operation_code::set_queue:
            if (!make_own(f, use::none, around)) {
                return;
            }
            f.p->note = dataplane::packet_note::with_queue(f.p->note, o.a);
            break;
        case operation_code::push_vlan:
            if (!make_own(f, use::none, around)) {
                return;
            }
            (void)insert_tag(*f.p, f.at, o.a, static_cast<std::uint16_t>(o.b));
            break;
        case operation_code::pop_vlan:
            if (!make_own(f, use::none, around)) {
                return;
            }
            (void)remove_tag(*f.p, f.at);
            break;
        case operation_code::decrement_ttl:
            if (!make_own(f, use::none, around)) {
                return;
            }
            look_deeper(f);
            (void)decrement_ttl(*f.p, f.at);
            break;
        case operation_code::clone:
            if (!run_copy(program.subspan(i, o.b), i + o.b == program.size(), f, around)) {
                return;
            }
            i += o.b;
            break;
        case operation_code::count_group:
            if (around.watching == nullptr) {
                reinterpret_cast<const bucket_group*>(program[i])
                    ->count(around.worker, bucket_group::no_bucket, f.p->length);
            }
            ++i;
            break;
        case operation_code::count_rule:
            if (around.watching == nullptr) {
                reinterpret_cast<const rule*>(program[i])
                    ->count(1, f.p->length, instant{std::chrono::seconds{around.context.now}});
            }
            ++i;
            break;
        case operation_code::meter:
            if (!pass(*reinterpret_cast<const packet_meter*>(program[i++]), f, around)) {
                return;
            }
            break;
        case operation_code::choose: {
            const std::size_t size = words_of(o) + o.b;
            if (!choose(program.subspan(i, size), i + size == program.size(), f, around)) {
                return;
            }
            i += size;
            break;
        }
        case operation_code::ct:
            ask(f, {o, program.data() + i}, program.subspan(i + words_of(o)), around);
            return;
        case operation_code::drop:
            accounted_ = true;
            around.in_counters.drop(static_cast<drop_reason>(o.a), *f.p);
            return;
        case operation_code::keep_head:
            keep_head(*f.p);
            break;
        case operation_code::time_exceeded:
            tell_time_exceeded({program[i], program[i + 1]}, around);
            i += words_of(o);
            break;
        case operation_code::alternative: // within the others' words
            return;
        }
    }
}

void runner::ask(frame_state& f, const ct_operation& what, std::span<const std::uint64_t> rest,
                 const surroundings& around) noexcept
{
    f.state.accounted = accounted_;
    accounted_ = accounted_ || what.goes_on || !rest.empty(); // with what comes of these
    // Its headers may be changed: what is on lists is not to be.
    if (make_own(f, use::none, around) && !asked_.take(*f.p, f.state, what, rest)) [[unlikely]] {
        accounted_ = true;
        around.in_counters.drop(drop_reason::flow_too_complex, *f.p);
    }
}

void runner::run(std::span<const std::uint64_t> program, packet_slot& p, const header_layout& at,
                 const pass_state& state, const surroundings& around) noexcept
{
    frame_state f{&p, at, use::none, state};
    accounted_ = state.accounted;
    told_ = false;
    why_not_ = drop_reason::flow_drop;
    run(program, f, around);
    if (!accounted_) {
        around.in_counters.drop(why_not_, p);
    }
}

switcher::switcher(std::size_t cache_bytes) : switcher{std::make_shared<cache>(cache_bytes)} {}

switcher::switcher(switcher& first) : switcher{first.shared_} {}

switcher::switcher(std::shared_ptr<cache> entries)
    : shared_{std::move(entries)},
      cache_{*shared_},
      candidates_{new std::array<candidate, burst::capacity>},
      asked_{new std::array<std::uint64_t, key_words * burst::capacity>},
      made_{new translation}
{
    for (std::size_t i = 0; i < levels_.size(); ++i) {
        levels_[i] = std::make_unique<level>(passes_left_, i + 1 == levels_.size());
    }
}

switcher::~switcher()
{
    clear_copies();
}

namespace {

bool read(packet_slot& p, burst& b, depth deepest, key& k, header_layout& at) noexcept
{
    if (p.length < dataplane::ethernet_header) {
        return false;
    }
    if (!extract(p, k, at, deepest)) [[unlikely]] {
        dataplane::lengthen_head(p, b);
        (void)extract(p, k, at, deepest);
    }
    return true;
}

} // namespace

void switcher::forward(burst& b, const surroundings& around) noexcept
{
    if (!around.in.passes()) [[unlikely]] {
        const auto why =
            around.in.admin_up ? drop_reason::ingress_blocked : drop_reason::ingress_disabled;
        for (const packet_slot& p : b.packets()) {
            around.in_counters.drop(why, p);
        }
        return;
    }
    clear_copies(); // of the last burst
    may_wait_ = true;
    passes_left_.fill(max_passes_in_all);
    burst_ = &b;
    if (seats_) {
        seats_->long_ones.clear();
    }
    begin_at(around.flows.first_table_of(around.in.index), around);
    switch (layout_->count) {
    case 2:
        return forward_by<2>(b, around);
    case 3:
        return forward_by<3>(b, around);
    case 4:
        return forward_by<4>(b, around);
    case 5:
        return forward_by<5>(b, around);
    case 6:
        return forward_by<6>(b, around);
    default:
        return forward_by<0>(b, around);
    }
}

void switcher::begin_at(table_id table, const surroundings& around) noexcept
{
    begins_ = table;
    if (table == 0) [[likely]] {
        layout_ = &around.flows.layout;
        pass_ = cache::first_pass(around.in.bridge);
    } else {
        layout_ = around.flows.layout_from(table);
        pass_ = cache::later_pass(around.in.bridge, table, 0);
    }
}

// Of a packet out of a tunnel, its key has what that says.
void switcher::read_note(const packet_slot& p, key& to, const surroundings& around) noexcept
{
    if (around.notes != nullptr) {
        around.notes->read(p.note, to);
    }
}

// By keys of `count` words; 0: of any number.
template <std::size_t count>
void switcher::forward_by(burst& b, const surroundings& around) noexcept
{
    const key_layout& layout = *layout_;
    // From a tunnel, or from the switch itself with what is about to leave in one.
    const bool inside = around.in.has_no_queues();
    remembers_ = seats_ && !inside;
    const std::uint16_t keeps =
        around.in.tunnel ? dataplane::packet_note::tunnel : dataplane::packet_note::queue;
    candidate* end = candidates_->data();
    std::uint64_t* words = asked_->data();
    key_.clear();
    key_.set(field::in_port, around.in.number);
    for (packet_slot& p : b.packets()) {
        p.in_port = around.in.index;
        p.destinations = 0;
        if (inside) [[unlikely]] {
            p.note &= keeps;
            read_note(p, key_, around);
        } else {
            p.note = 0;
        }
        candidate& c = *end;
        if (!read(p, b, layout.deepest, key_, c.at)) [[unlikely]] {
            around.in_counters.drop(drop_reason::frame_too_short, p);
            continue;
        }
        if (key_.number(field::eth_type) != dataplane::ethertype_ipv4 && around.in.addresses &&
            around.context.learns && guard::may_tell_address(p)) [[unlikely]] {
            guard::note_address(p, around.in, around.context.now);
        }
        p.tags = c.at.tags;
        c.p = &p;
        c.varying = key_.words[varying_word];
        c.asked.words = words;
        words += count == 0 ? layout.count : count;
        cache_.ask<count>(key_, layout, pass_, c.asked);
        cache_.prefetch_bucket(c.asked);
        ++end;
    }
    const std::span<candidate> candidates{candidates_->data(), end};
    for (candidate& c : candidates) {
        cache_.prefetch_entry(c.asked);
    }
    std::uint64_t hits = 0;
    port_index usual = dataplane::no_port; // a port that may be sent to
    for (candidate& c : candidates) {
        cache::entry* const found = cache_.find<count>(c.asked, layout.count, c.facts());
        if (found == nullptr || !is_current(*found, c, layout, around.flows)) [[unlikely]] {
            if (seats_) {
                translate_long(c, layout.count, b, around);
            } else {
                translate_anew(c, found, b, around);
            }
            continue;
        }
        ++hits;
        cache_.count(*found, c.p->length, around.context.now);
        const std::span<const std::uint64_t> program = cache::program_of(*found);
        const port_index to = only_output(program);
        if (to == dataplane::no_port) [[unlikely]] {
            if (inside || !take_seat(program, c, around)) {
                run_long(program, cache::reason_of(*found), c, around);
            }
        } else if (to == usual && !around.out.is_full(to)) [[likely]] {
            c.p->tagged = dataplane::as_it_is;
            around.out.add(to, *c.p);
        } else if (runner::send(*c.p, to, around)) {
            usual = to;
        }
    }
    cache_.counters.hits.add(hits);
    go_short_way(around);
    if (levels_[0]->asked.count() > 0) {
        go_on(0, around);
    }
}

bool switcher::is_current(cache::entry& e, const candidate& c, const key_layout& layout,
                          const pipeline& flows) noexcept
{
    const std::uint32_t version = cache::version_of(e);
    if (version == flows.version) [[likely]] {
        return true;
    }
    // Of fragments rules do not see the ports that are told by.
    constexpr std::uint64_t fragment = std::uint64_t{frag_any} << place_of(field::nw_frag).shift;
    static_assert(place_of(field::nw_frag).word == varying_word);
    if ((c.varying & fragment) != 0 || !flows.still_holds(version, c.asked.words, layout)) {
        return false;
    }
    cache::renew(e, flows.version);
    return true;
}

void switcher::run_first(std::span<const std::uint64_t> program, drop_reason reason, candidate& c,
                         const surroundings& around) noexcept
{
    if (program.empty()) {
        around.in_counters.drop(reason, *c.p);
        return;
    }
    const auto origin = static_cast<std::uint8_t>(c.p - burst_->slots.data());
    const key* fields = nullptr;
    if (around.in.tunnel) {
        tunnel_.words[0] = around.in.number;
        read_note(*c.p, tunnel_, around);
        fields = &tunnel_;
    }
    run(0, program, *c.p, c.at, {fields, around.in.number, burst_, origin}, around);
}

void switcher::run(std::size_t at, std::span<const std::uint64_t> program, packet_slot& p,
                   const header_layout& headers, const pass_state& state,
                   const surroundings& around) noexcept
{
    // Most that have a ct action have nothing else, behind which the packet itself is done with.
    const operation first = operation::of(program.front());
    if (first.code == operation_code::ct && program.size() == 1 + words_of(first)) [[likely]] {
        if (at < max_passes && levels_[at]->asked.take(p, state, {first, program.data() + 1}, {}))
            [[likely]] {
            settle(at, around);
        } else {
            around.in_counters.drop(drop_reason::flow_too_complex, p);
        }
        return;
    }
    // What it delivers may go on in other flows, for which the cache may need the entry's place.
    level& here = *levels_[at];
    std::copy(program.begin(), program.end(), here.running.begin());
    program = std::span{here.running}.first(program.size());
    // With several outputs an mbuf must not go with the first.
    if (leaves_more_than_once(program)) {
        ++p.destinations;
    }
    here.runs.run(program, p, headers, state, around);
    settle(at, around);
}

void switcher::translate_anew(candidate& c, cache::entry* old, burst& b,
                              const surroundings& around) noexcept
{
    key_.clear();
    key_.set(field::in_port, around.in.number);
    if (around.in.tunnel) {
        read_note(*c.p, key_, around);
    }
    (void)read(*c.p, b, depth::transport, key_, c.at);
    look_up_rules(c, old, key_, {.table = begins_, .stack = {}, .set = {}}, layout_->count, around);
    run_first(made_->words(), made_->reason, c, around);
}

// What rules do to a packet with this key is in made_ then, and in the cache if its question has
// any words; and the packet is counted, by its entry or by the rules themselves.
void switcher::look_up_rules(candidate& c, cache::entry* old, const key& k, const pass_start& start,
                             std::size_t words, const surroundings& around) noexcept
{
    const std::uint64_t begun = rte_rdtsc();
    cache_.counters.misses.add(1);
    cache_.counters.stale.add(old != nullptr ? 1 : 0);
    translate(around.flows, k, *made_, nullptr, start);
    cache::entry* const made =
        words == 0 ? nullptr : cache_.put(c.asked, words, *made_, around.flows.version, old);
    if (made != nullptr) {
        cache_.count(*made, c.p->length, around.context.now);
    } else {
        for (const rule* const r : made_->met()) {
            r->count(1, c.p->length, instant{std::chrono::seconds{around.context.now}});
        }
    }
    cache_.counters.miss_cycles.add(rte_rdtsc() - begun);
}

} // namespace strait::flow
