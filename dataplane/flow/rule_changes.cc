// SPDX-License-Identifier: BSD-3-Clause
// The choice of words and ranges that changes are told by.
#include "dataplane/flow/rule_changes.hh"

#include <algorithm>
#include <bit>
#include <type_traits>
#include <variant>

namespace strait::flow {

namespace {

// Bits that tell as many flows apart as there are ranges.
constexpr unsigned enough_bits = changed_values::range_bits;

// Fields that few values are common of tell hardly a flow from another.
constexpr key telling_fields() noexcept
{
    key out;
    for (std::uint64_t& word : out.words) {
        word = ~std::uint64_t{0};
    }
    for (const field f : {field::in_port, field::conj_id, field::eth_type, field::nw_proto,
                          field::nw_tos, field::nw_frag}) {
        out.set(f, 0);
    }
    return out;
}

void add(key& bits, field f)
{
    bits.set(f, ~wide{});
}
void add(key& bits, const subfield& s)
{
    bits.set(s.of, ~wide{}, s.mask());
}
// A tag that comes or goes moves the others, and what is behind them.
void add_tags(key& bits)
{
    for (const field f : {field::vlan_tci, field::inner_vlan_tci, field::eth_type}) {
        add(bits, f);
    }
}

struct writer {
    key& bits;

    void operator()(const output&) const {}
    void operator()(const output_field&) const {}
    void operator()(const set_field& a) const
    {
        bits.set(a.of, ~wide{}, a.mask);
        if (a.of == field::vlan_tci) {
            add_tags(bits);
        }
    }
    void operator()(const move_field& a) const { to(a.to); }
    void operator()(const push_vlan&) const { add_tags(bits); }
    void operator()(const pop_vlan&) const { add_tags(bits); }
    void operator()(const dec_ttl&) const { add(bits, field::nw_ttl); }
    void operator()(const resubmit& a) const
    {
        if (a.in_port) {
            add(bits, field::in_port);
        }
    }
    void operator()(const goto_table&) const {}
    void operator()(const clear_actions&) const {}
    void operator()(const group&) const { all(); } // whose buckets may do anything
    void operator()(const meter&) const {}
    void operator()(const conjunction&) const {}
    void operator()(const check_pkt_larger& a) const { to(a.to); }
    void operator()(const stack_push&) const {}
    void operator()(const stack_pop& a) const { to(a.to); }
    void operator()(const exit_processing&) const {}
    void operator()(const note&) const {}
    void operator()(const ct_clear&) const { connection(); }
    void operator()(const clone& a) const { add_written(a.actions, bits); }
    void operator()(const write_actions& a) const { add_written(a.actions, bits); }
    void operator()(const ct& a) const
    {
        connection();
        add_written(a.exec, bits);
        if (a.translation) {
            for (const field f : {field::nw_src, field::nw_dst, field::ipv6_src, field::ipv6_dst,
                                  field::tp_src, field::tp_dst}) {
                add(bits, f);
            }
        }
    }

private:
    void to(const subfield& s) const
    {
        add(bits, s);
        if (s.of == field::vlan_tci) {
            add_tags(bits);
        }
    }
    void connection() const
    {
        for (std::size_t i = place_of(field::ct_state).word; i < place_of(field::tun_id).word;
             ++i) {
            bits.words[i] = ~std::uint64_t{0};
        }
    }
    void all() const { bits.words.fill(~std::uint64_t{0}); }
};

unsigned count(std::uint64_t bits) noexcept
{
    return static_cast<unsigned>(std::popcount(bits));
}

bool same_words(const key_layout& a, const key_layout& b) noexcept
{
    return a.count == b.count && a.words == b.words;
}

} // namespace

void add_written(const action_list& actions, key& bits)
{
    for (const action& a : actions) {
        std::visit(writer{bits}, a.is);
    }
}

void changed_rules::add(const rule& changed)
{
    if (all_ || matches_.size() == most) {
        add_all();
        return;
    }
    matches_.push_back(changed.match());
}

void changed_rules::add(const changed_rules& others)
{
    if (all_ || others.all_ || matches_.size() + others.matches_.size() > most) {
        add_all();
        return;
    }
    matches_.insert(matches_.end(), others.matches_.begin(), others.matches_.end());
}

void changed_rules::add_all() noexcept
{
    all_ = true;
    matches_ = {};
}

// Everything is another from here on.
void rule_changes::restart(const pipeline& next) noexcept
{
    layout_ = next.layout;
    since_ = next.version;
    by_word_ = {};
}

void rule_changes::tell(pipeline& next, const key& written)
{
    // Versions are compared by their distance.
    constexpr std::uint32_t longest = 1U << 30;
    bool all =
        changed_.all() || !same_words(layout_, next.layout) || next.version - since_ > longest;
    for (std::size_t i = 0; i < layout_.count; ++i) {
        layout_.masks[i] |= next.layout.masks[i];
    }
    for (const match& one : changed_.matches()) {
        all = all || !note(one, next, written);
    }
    if (all) {
        restart(next);
    }
    changed_ = {};
    next.kept = next.version - since_;
    next.changed = by_word_;
}

// False: there are no bits that it could be told by.
bool rule_changes::note(const match& one, const pipeline& next, const key& written)
{
    // Bits that packets are asked about as they came.
    static constexpr key telling = telling_fields();
    word_bits usable{};
    for (std::size_t i = 0; i < layout_.count; ++i) {
        const std::size_t word = layout_.words[i];
        usable[word] =
            one.mask.words[word] & layout_.masks[i] & ~written.words[word] & telling.words[word];
    }
    const unsigned most =
        count(*std::ranges::max_element(usable, {}, [](std::uint64_t b) { return count(b); }));
    if (most == 0) {
        return false;
    }
    changed_values* to = find(usable, std::min(most, enough_bits));
    if (to == nullptr) {
        to = make(usable);
    }
    if (to == nullptr) {
        to = find(usable, 1);
    }
    if (to == nullptr) {
        return false;
    }
    to->note(one.value.words[to->word()], next.version);
    return true;
}

// One of those there are, by as many bits as can be, and `enough` at least, all of them usable.
changed_values* rule_changes::find(const word_bits& usable, unsigned enough) const noexcept
{
    changed_values* best = nullptr;
    for (const auto& c : by_word_) {
        if (c.values && (c.values->mask() & ~usable[c.values->word()]) == 0 &&
            count(c.values->mask()) >= enough &&
            (best == nullptr || count(c.values->mask()) > count(best->mask()))) {
            best = c.values.get();
        }
    }
    return best;
}

// Null: there are as many as there may be.
changed_values* rule_changes::make(const word_bits& usable)
{
    const auto free = std::ranges::find_if(by_word_, [](const auto& c) { return !c.values; });
    if (free == by_word_.end()) {
        return nullptr;
    }
    const auto word = static_cast<std::uint8_t>(
        std::ranges::max_element(usable, {}, [](std::uint64_t b) { return count(b); }) -
        usable.begin());
    const auto* const place = std::find(layout_.words.begin(), layout_.words.end(), word);
    free->values = std::make_shared<changed_values>(word, usable[word], since_);
    free->at = static_cast<std::uint8_t>(place - layout_.words.begin());
    return free->values.get();
}

} // namespace strait::flow
