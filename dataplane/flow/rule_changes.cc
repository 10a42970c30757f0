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
// Of an option, whether it is there is written with what it has, and the other way round.
void add(key& bits, field f, wide mask)
{
    bits.set(f, ~wide{}, mask);
    if (is_option_data(f)) {
        add(bits, field::tun_present);
    } else if (f == field::tun_present) {
        for (field data = field::tun_data0; is_option_data(data);
             data = static_cast<field>(static_cast<unsigned>(data) + 1)) {
            add(bits, data);
        }
    }
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
        add(bits, a.of, a.mask);
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
        if (a.by_connection) { // what a rule asks for stands elsewhere
            connection();
            for (const field f : {field::nw_proto, field::nw_src, field::nw_dst, field::ipv6_src,
                                  field::ipv6_dst, field::tp_src, field::tp_dst}) {
                add(bits, f);
            }
        }
    }
    void operator()(const goto_table&) const {}
    void operator()(const clear_actions&) const {}
    void operator()(const set_queue&) const {}
    void operator()(const pop_queue&) const {}
    void operator()(const enqueue&) const {}
    void operator()(const group&) const { all(); } // whose buckets may do anything
    void operator()(const meter&) const {}
    void operator()(const conjunction&) const {}
    void operator()(const check_pkt_larger& a) const { to(a.to); }
    void operator()(const stack_push&) const {}
    void operator()(const stack_pop& a) const { to(a.to); }
    void operator()(const exit_processing&) const {}
    void operator()(const note&) const {}
    void operator()(const deny&) const {}
    void operator()(const ct_clear&) const { connection(); }
    void operator()(const clone& a) const { add_written(a.actions, bits); }
    void operator()(const write_actions& a) const { add_written(a.actions, bits); }
    // Who goes on has other headers, if addresses are translated, but from the pass's begin on.
    void operator()(const ct&) const { connection(); }

private:
    void to(const subfield& s) const
    {
        add(bits, s.of, s.mask());
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
    if (all_ || rules_.size() == most) {
        add_all();
        return;
    }
    rules_.push_back({changed.table(), changed.match()});
}

void changed_rules::add(const changed_rules& others)
{
    if (all_ || others.all_ || rules_.size() + others.rules_.size() > most) {
        add_all();
        return;
    }
    rules_.insert(rules_.end(), others.rules_.begin(), others.rules_.end());
}

void changed_rules::add_all() noexcept
{
    all_ = true;
    rules_ = {};
}

// Everything is another from here on.
void rule_changes::restart(const pipeline& next)
{
    passes_.clear();
    (void)take_in(first_pass, next.layout, next.version);
    for (const auto& [table, layout] : next.later) {
        (void)take_in(table, layout, next.version);
    }
    since_ = next.version;
    by_word_ = {};
}

// False: its keys have other words than before.
bool rule_changes::take_in(unsigned begins, const key_layout& layout, std::uint32_t version)
{
    const auto known = std::ranges::find(passes_, begins, &pass::begins);
    if (known == passes_.end()) { // nor are there entries of it
        passes_.push_back({begins, layout, layout.masks, version});
        return true;
    }
    if (!same_words(known->layout, layout)) {
        return false;
    }
    for (std::size_t i = 0; i < layout.count; ++i) {
        if ((layout.masks[i] & ~known->masks[i]) != 0) {
            known->widened = version;
        }
        known->layout.masks[i] |= layout.masks[i];
    }
    known->masks = layout.masks;
    known->layout.tables |= layout.tables;
    return true;
}

void rule_changes::tell(pipeline& next, const key& written)
{
    // Versions are compared by their distance.
    constexpr std::uint32_t longest = 1U << 30;
    bool all = changed_.all() || next.version - since_ > longest;
    all = !take_in(first_pass, next.layout, next.version) || all;
    for (const auto& [table, layout] : next.later) {
        all = !take_in(table, layout, next.version) || all;
    }
    for (const changed_rules::one& rule : changed_.rules()) {
        all = all || !note(rule, next, written);
    }
    if (all) {
        restart(next);
    }
    changed_ = {};
    next.kept = next.version - since_;
    next.changed = by_word_;
    const auto place = [this](key_layout& layout) {
        for (std::size_t i = 0; i < by_word_.size(); ++i) {
            layout.changed_at[i] =
                by_word_[i] ? layout.place_of_word(by_word_[i]->word()) : key_layout::absent;
        }
    };
    place(next.layout);
    for (auto& one : next.later) {
        place(one.layout);
        const auto known = std::ranges::find(passes_, unsigned{one.table}, &pass::begins);
        if (known != passes_.end()) {
            one.layout.widened = known->widened;
        }
    }
}

bool rule_changes::concerns_any(table_id table) const noexcept
{
    return std::ranges::any_of(passes_,
                               [table](const pass& p) { return p.layout.tables.test(table); });
}

// Bits of a rule's that the keys of all passes have which may meet it, and which packets are asked
// for as they came.
rule_changes::word_bits rule_changes::usable_for(const changed_rules::one& rule,
                                                 const key& written) const
{
    static constexpr key telling = telling_fields();
    word_bits usable{};
    for (std::size_t i = 0; i < key_words; ++i) {
        usable[i] = rule.match.mask.words[i] & ~written.words[i] & telling.words[i];
    }
    for (const pass& p : passes_) {
        if (!p.layout.tables.test(rule.table)) {
            continue;
        }
        word_bits here{};
        for (std::size_t i = 0; i < p.layout.count; ++i) {
            here[p.layout.words[i]] = p.layout.masks[i];
        }
        for (std::size_t i = 0; i < key_words; ++i) {
            usable[i] &= here[i];
        }
    }
    return usable;
}

// False: there are no bits that it could be told by.
bool rule_changes::note(const changed_rules::one& rule, const pipeline& next, const key& written)
{
    if (!concerns_any(rule.table)) {
        return true;
    }
    const word_bits usable = usable_for(rule, written);
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
    to->note(rule.match.value.words[to->word()], next.version);
    return true;
}

// One of those there are, by as many bits as can be, and `enough` at least, all of them usable.
changed_values* rule_changes::find(const word_bits& usable, unsigned enough) const noexcept
{
    changed_values* best = nullptr;
    for (const auto& c : by_word_) {
        if (c && (c->mask() & ~usable[c->word()]) == 0 && count(c->mask()) >= enough &&
            (best == nullptr || count(c->mask()) > count(best->mask()))) {
            best = c.get();
        }
    }
    return best;
}

// Null: there are as many as there may be.
changed_values* rule_changes::make(const word_bits& usable)
{
    const auto free = std::ranges::find_if(by_word_, [](const auto& c) { return !c; });
    if (free == by_word_.end()) {
        return nullptr;
    }
    const auto word = static_cast<std::uint8_t>(
        std::ranges::max_element(usable, {}, [](std::uint64_t b) { return count(b); }) -
        usable.begin());
    *free = std::make_shared<changed_values>(word, usable[word], since_);
    return free->get();
}

} // namespace strait::flow
