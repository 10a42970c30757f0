// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/passes.hh"

#include "dataplane/conntrack/tuple.hh"
#include "dataplane/flow/extract.hh"
#include "dataplane/flow/flow_mask.hh"

#include <algorithm>
#include <bit>

namespace strait::flow {

namespace {

constexpr std::size_t first_of_connection = place_of(field::ct_state).word;
constexpr std::size_t behind_connection = place_of(field::tun_id).word;
constexpr std::size_t first_behind_headers = place_of(field::metadata).word;
constexpr std::size_t first_of_options = place_of(field::tun_data0).word;

// All that is no header's. Few packets have options of Geneve, and where there are none the words
// that have them are zero.
void copy_behind_headers(const key& from, key& to) noexcept
{
    const std::uint64_t options = from.number(field::tun_present) | to.number(field::tun_present);
    std::copy_n(from.words.begin() + first_behind_headers, first_of_options - first_behind_headers,
                to.words.begin() + first_behind_headers);
    if (options != 0) [[unlikely]] {
        std::copy(from.words.begin() + first_of_options, from.words.end(),
                  to.words.begin() + first_of_options);
    }
}

} // namespace

void put_connection(const conntrack::result& known, key& to) noexcept
{
    static_assert(first_of_connection == 23 && behind_connection == 32);
    to.words[23] = known.state | std::uint64_t{known.mark} << 32;
    to.words[24] = conntrack::number_of(known.zone) | std::uint64_t{known.source_port} << 16 |
                   std::uint64_t{known.destination_port} << 32 |
                   std::uint64_t{known.protocol} << 48 |
                   (conntrack::is_of_port(known.zone) ? conntrack::of_port_bit : 0);
    to.words[25] = known.label.high;
    to.words[26] = known.label.low;
    if (!known.ipv6) {
        to.words[27] = known.destination.low | known.source.low << 32;
        std::fill_n(to.words.begin() + 28, 4, 0);
        return;
    }
    to.words[27] = 0;
    to.words[28] = known.source.high;
    to.words[29] = known.source.low;
    to.words[30] = known.destination.high;
    to.words[31] = known.destination.low;
}

conntrack::result connection_of(const key& k) noexcept
{
    conntrack::result out;
    const auto number = [&k](field f) noexcept { return k.number(f); };
    out.state = static_cast<std::uint32_t>(number(field::ct_state));
    out.mark = static_cast<std::uint32_t>(number(field::ct_mark));
    out.label = k.get(field::ct_label);
    out.zone = conntrack::zone_of(k);
    out.protocol = static_cast<std::uint8_t>(number(field::ct_nw_proto));
    out.source_port = static_cast<std::uint16_t>(number(field::ct_tp_src));
    out.destination_port = static_cast<std::uint16_t>(number(field::ct_tp_dst));
    const wide source = k.get(field::ct_ipv6_src);
    const wide destination = k.get(field::ct_ipv6_dst);
    out.ipv6 = !(source | destination).is_zero();
    out.source = out.ipv6 ? source : k.get(field::ct_nw_src);
    out.destination = out.ipv6 ? destination : k.get(field::ct_nw_dst);
    return out;
}

bool pass_stage::take(dataplane::packet_slot& p, const pass_state& state, const ct_operation& what,
                      std::span<const std::uint64_t> rest) noexcept
{
    const std::size_t words = what.behind.size() + rest.size();
    if (count_ == capacity || words > words_.size() - words_used_ || left_[state.origin] == 0)
        [[unlikely]] {
        return false;
    }
    --left_[state.origin];
    const std::size_t i = count_++;
    conntrack::request& r = requests_[i];
    r.p = &p;
    r.payload = state.payload;
    r.headers = &keys_[i];
    what.write_to(r.asked);
    r.answer = {};
    r.translated = false;
    r.dropped = false;
    bring_along(i, state, what);
    if (!extract(p, keys_[i], r.at)) [[unlikely]] {
        dataplane::lengthen_head(p, *state.payload);
        (void)extract(p, keys_[i], r.at);
    }
    if (r.at.fragment) [[unlikely]] {
        r.continuation = 0;
        has_fragments_ = true;
    }
    items_[i] = {state.payload,
                 static_cast<std::uint16_t>(words_used_),
                 static_cast<std::uint16_t>(rest.size()),
                 what.table,
                 what.state.stack,
                 what.state.actions,
                 state.origin,
                 what.goes_on,
                 state.accounted};
    if (words > 0) {
        std::uint64_t* const to = std::ranges::copy(what.behind, words_.data() + words_used_).out;
        std::ranges::copy(rest, to);
        words_used_ += words;
    }
    return true;
}

// What the packet has from the pass that it leaves, and what that made of it.
void pass_stage::bring_along(std::size_t i, const pass_state& state,
                             const ct_operation& what) noexcept
{
    key& k = keys_[i];
    if (state.fields != nullptr) {
        if (what.knows) {
            requests_[i].answer = connection_of(*state.fields);
        }
        k.words[0] = state.fields->words[0];
        copy_behind_headers(*state.fields, k);
        plain_[i] = false;
    } else {
        k.words[0] = state.in_port;
        if (!plain_[i]) {
            static constexpr key nothing{};
            copy_behind_headers(nothing, k);
            plain_[i] = true;
        }
    }
    if (what.state.changed == 0) {
        return;
    }
    plain_[i] = false;
    const std::uint64_t* change = what.changes;
    for (std::uint64_t left = what.state.changed; left != 0; left &= left - 1) {
        std::uint64_t& word = k.words[static_cast<std::size_t>(std::countr_zero(left))];
        word = (word & ~change[1]) | change[0];
        change += 2;
    }
}

// Of what is done in the same way behind the same action the same, and of nothing else.
std::uint64_t pass_stage::continuation_of(std::size_t i) const noexcept
{
    const item& it = items_[i];
    const conntrack::parameters& asked = requests_[i].asked;
    std::uint64_t sum = it.table | std::uint64_t{it.stack} << 16 | std::uint64_t{it.set} << 24 |
                        std::uint64_t{it.goes_on} << 32 | std::uint64_t{it.accounted} << 33 |
                        std::uint64_t{asked.commit} << 34 | std::uint64_t{asked.force} << 35 |
                        static_cast<std::uint64_t>(asked.alg) << 40;
    const auto add = [&sum](std::uint64_t word) noexcept {
        sum =
            word_hash::fold(sum ^ conntrack::detail::seeds[0], word ^ conntrack::detail::seeds[1]);
    };
    for (const std::uint64_t word :
         {std::bit_cast<std::uint64_t>(asked.translation),
          asked.mark | std::uint64_t{asked.mark_mask} << 32, asked.label.high, asked.label.low,
          asked.label_mask.high, asked.label_mask.low, keys_[i].words[0]}) {
        add(word);
    }
    for (const std::uint64_t word : stack_and_set(i)) {
        add(word);
    }
    for (const std::uint64_t word : rest(i)) {
        add(word);
    }
    for (std::size_t w = first_behind_headers; w < key_words; ++w) {
        if (w < first_of_connection || w >= behind_connection) { // these are about to be written
            add(keys_[i].words[w]);
        }
    }
    return sum | 1; // none is 0
}

void pass_stage::let_fragments_wait() noexcept
{
    for (std::size_t i = 0; i < count_; ++i) {
        if (requests_[i].at.fragment) {
            requests_[i].continuation = continuation_of(i);
        }
    }
}

bool pass_stage::ask_as(std::size_t number, dataplane::packet_slot& p,
                        dataplane::burst& payload) noexcept
{
    const item& like = items_[number];
    if (count_ == capacity || left_[like.origin] == 0) {
        return false;
    }
    --left_[like.origin];
    const std::size_t i = count_++;
    conntrack::request& r = requests_[i];
    r.p = &p;
    r.payload = &payload;
    r.headers = &keys_[i];
    r.asked = requests_[number].asked;
    r.answer = {};
    r.translated = false;
    r.dropped = false;
    r.continuation = 0;
    keys_[i] = keys_[number];
    plain_[i] = false;
    (void)extract(p, keys_[i], r.at);
    items_[i] = like;
    items_[i].payload = &payload;
    return true;
}

void pass_stage::complete(std::size_t i) noexcept
{
    conntrack::request& r = requests_[i];
    if (r.translated) {
        (void)extract(*r.p, keys_[i], r.at);
    }
    put_connection(r.answer, keys_[i]);
}

} // namespace strait::flow
