// SPDX-License-Identifier: BSD-3-Clause
// Reading matches.
#include "control/flow_match_text.hh"

#include "control/flow_options.hh"
#include "control/flow_shorthands.hh"

#include <algorithm>

namespace strait::control {

using flow::field;
using flow::wide;

namespace {

bool is_tag_field(const flow_field& f)
{
    return f.of == field::vlan_tci || f.of == field::inner_vlan_tci;
}

// Whether two fields are the same, by whatever name.
bool is_same(const flow_field& a, const flow_field& b)
{
    return a.of == b.of && a.first == b.first && a.bits == b.bits;
}

// What a match has of a field's bits, given what text says of them.
masked_value in_key(const flow_field& f, const masked_value& text)
{
    if (f.fills && text.mask == wide::ones(f.width)) {
        return {f.to_key(text.value), wide::ones(flow::width_of(f.of))};
    }
    return {f.to_key(text.value), f.to_key(text.mask)};
}

flow_fault no_value(const flow_word& word)
{
    return {word.all, shown(word.key) + " needs a value behind ="};
}

bool is_port_of_packets(flow::port_number port)
{
    return port <= last_port_number || port == flow::ports::local ||
           port == flow::ports::controller || port == flow::ports::none;
}

// Whether a field's value is known, not only some of its bits.
bool says_all(const flow_field& f, const masked_value& v)
{
    constexpr std::uint64_t identifier = flow::vlan_present | 0xfff;
    constexpr std::uint64_t priority = flow::vlan_present | 0xe000;
    switch (f.form) {
    case value_form::tcp_flags:
    case value_form::ct_flags:
    case value_form::tunnel_flags:
        return true;
    case value_form::fragment: // no, first, later; not yes and not_later
        return v.mask == f.to_key(wide::ones(f.width)) || v.value.low == flow::frag_later;
    default:
        break;
    }
    if (is_tag_field(f)) {
        const bool in_parts = f.width == 12 || f.width == 3;
        return v.mask.low == 0xffff ||
               (in_parts && (v.mask.low == identifier || v.mask.low == priority));
    }
    return v == in_key(f, {f.to_text(v.value), wide::ones(f.width)});
}

// Values that a field can hold, but no packet has.
flow_result<void> check_possible(const flow_field& f, const flow_word& word,
                                 const masked_value& text)
{
    const auto refuse = [&word](std::string why) { return flow_fault{word.value, std::move(why)}; };
    if (f.of == field::in_port &&
        !is_port_of_packets(static_cast<flow::port_number>(text.value.low))) {
        return refuse("no packet comes from " + std::string{word.value} +
                      "; in_port must be a port's number, its name or LOCAL");
    }
    if (f.name == "nw_tos" && (text.value.low & 3) != 0) {
        return refuse("nw_tos has DSCP alone and must be a multiple of 4; write nw_ecn for the "
                      "lowest two bits");
    }
    if (f.name == "arp_op" && text.value.low > 0xff) {
        return refuse("arp_op must be from 0 to 255");
    }
    constexpr std::uint64_t tracked = 0x20;
    if (f.of == field::ct_state && (text.mask.low & tracked & ~text.value.low) != 0 &&
        (text.value.low & ~tracked) != 0) {
        return refuse("a packet that is not tracked (-trk) has no other flag of ct_state");
    }
    if (word.value != "*" && !f.maskable && text.mask != wide::ones(f.width)) {
        return refuse(std::string{f.name} + " takes no mask; it must be one value");
    }
    return {};
}

} // namespace

flow_result<bool> match_reader::take(const flow_word& word)
{
    if (word.mark == 0 || word.key == "packet_type") {
        const auto taken = take_shorthand(word);
        if (taken.has_error() || *taken) {
            return taken;
        }
    }
    const std::size_t bracket = word.key.find('[');
    const flow_field* f = find_field(word.key.substr(0, bracket));
    if (f == nullptr) {
        if (find_shorthand(word.key) != nullptr) {
            return flow_fault{word.all, std::string{word.key} + " takes no value"};
        }
        if (!unsupported_field(word.key).empty()) {
            return no_such_field(word.key);
        }
        return false;
    }
    const bool in_part = bracket != std::string_view::npos && !word.key.ends_with("[]");
    const bool has_value = word.mark != 0 && !word.value.empty() && word.target.empty();
    const bool is_alone = word.mark == 0 && f->is_option && !in_part; // it is there
    if (!has_value && !is_alone) {
        return no_value(word);
    }
    const auto taken = f->is_option ? take_option(*f, word, in_part)
                       : in_part    ? take_bits(word)
                                    : take_field(*f, word);
    if (taken.has_error()) {
        return taken.error();
    }
    return true;
}

flow_result<bool> match_reader::take_shorthand(const flow_word& word)
{
    if (word.key == "packet_type") {
        if (trimmed(word.value) == "(0,0)" || word.value == "0") {
            return true;
        }
        return no_such_field(word.key);
    }
    const shorthand* s = find_shorthand(word.key);
    if (s == nullptr) {
        return false;
    }
    if (s->ethernet_type != 0) {
        const auto done =
            add({find_field("eth_type"), word.all, {wide{s->ethernet_type}, wide::ones(16)}});
        if (done.has_error()) {
            return done.error();
        }
    }
    if (s->protocol != 0) {
        const auto done =
            add({find_field("nw_proto"), word.all, {wide{s->protocol}, wide::ones(8)}});
        if (done.has_error()) {
            return done.error();
        }
    }
    return true;
}

flow_result<void> match_reader::take_field(const flow_field& f, const flow_word& word)
{
    if (is_tag_field(f)) {
        return take_tag(f, word);
    }
    if (f.ranges && word.value.find('-') != std::string_view::npos) {
        return take_range(f, word);
    }
    const auto text = parse_value(f.form, f.width, word.key, word.value, *ports_);
    if (text.has_error()) {
        return text.error();
    }
    if (const auto possible = check_possible(f, word, *text); possible.has_error()) {
        return possible.error();
    }
    return add({&f, word.all, in_key(f, *text)});
}

flow_result<match_reader::number_of_bits> match_reader::parse_bits(const flow_word& word) const
{
    const auto bits = parse_field_bits(word.key, *ports_);
    if (bits.has_error()) {
        return bits.error();
    }
    const auto number = parse_integer(word.value);
    if (!number) {
        return flow_fault{word.value, shown(word.value) + " is no number; some bits of a field "
                                                          "must be a number"};
    }
    if (exceeds(*number, bits->bits)) {
        return flow_fault{word.value, shown(word.value) + " does not fit into " +
                                          std::to_string(bits->bits) +
                                          (bits->bits == 1 ? " bit" : " bits")};
    }
    return number_of_bits{*bits, *number};
}

flow_result<void> match_reader::take_bits(const flow_word& word)
{
    const auto read = parse_bits(word);
    if (read.has_error()) {
        return read.error();
    }
    const field_bits* const bits = &read->bits;
    const masked_value text{read->value << bits->first, wide::ones(bits->bits) << bits->first};
    const flow_field& f = *bits->field;
    if (const auto possible = check_possible(f, word, text); possible.has_error()) {
        return possible.error();
    }
    if (is_tag_field(f) && f.name != "vlan_tci" && f.name != "inner_vlan_tci") {
        return flow_fault{word.key,
                          "bits of " + std::string{f.name} + " are matched as bits of vlan_tci"};
    }
    wish w{&f, word.all, in_key(f, text)};
    w.in_part = true;
    return add(std::move(w));
}

// What is matched of an option is matched of packets that have it.
flow_result<void> match_reader::take_option(const flow_field& f, const flow_word& word,
                                            bool in_part)
{
    const auto known = known_field(f, word.key, *ports_);
    if (known.has_error()) {
        return known.error();
    }
    const flow::option& o = *(*known)->option;
    const option_field& field = *ports_->options()->at(o.index);
    if (const auto there = add({&field.present, word.all, {o.present_bit(), o.present_bit()}});
        there.has_error()) {
        return there;
    }
    if (in_part) {
        return take_option_bits(field, word);
    }
    const auto value = word.mark == 0 ? option_value{} : parse_option_value(field, word.value);
    if (value.has_error()) {
        return value.error();
    }
    for (std::size_t i = 0; i < field.parts.size(); ++i) {
        if (value->mask[i] != 0) {
            const auto part =
                add({&field.parts[i], word.all, {wide{value->value[i]}, wide{value->mask[i]}}});
            if (part.has_error()) {
                return part;
            }
        }
    }
    return {};
}

flow_result<void> match_reader::take_option_bits(const option_field& field, const flow_word& word)
{
    const auto number = parse_bits(word);
    if (number.has_error()) {
        return number.error();
    }
    const field_bits& bits = number->bits;
    for (unsigned done = 0; done < bits.bits;) {
        const flow::subfield s =
            subfield_of(*bits.field->option, bits.first + done, bits.bits - done);
        const auto part = std::ranges::find(field.parts, s.of, &flow_field::of);
        const wide value = done < 128 ? (number->value >> done) & wide::ones(s.bits) : wide{};
        wish w{&*part, word.all, {value << s.first, s.mask()}};
        w.in_part = true;
        if (const auto taken = add(std::move(w)); taken.has_error()) {
            return taken;
        }
        done += s.bits;
    }
    return {};
}

// Tags: of what these say of a VLAN, the bit that there is a tag is a part.
flow_result<void> match_reader::take_tag(const flow_field& f, const flow_word& word)
{
    constexpr std::uint16_t none = 0xffff;
    constexpr std::uint16_t identifier = 0xfff;
    constexpr unsigned bits = 16;
    auto text = parse_value(f.form, bits, word.key, word.value, *ports_);
    if (text.has_error()) {
        return text.error();
    }
    auto value = static_cast<std::uint16_t>(text->value.low);
    auto mask = static_cast<std::uint16_t>(text->mask.low);
    if (mask != 0 && mask != 0xffff && !f.maskable) {
        return flow_fault{word.value, std::string{word.key} + " takes no mask; vlan_tci does"};
    }
    if (f.width == 3) { // a priority
        if (value > 7) {
            return flow_fault{word.value, std::string{word.key} + " must be from 0 to 7"};
        }
        value = static_cast<std::uint16_t>(value << 13 | flow::vlan_present);
        mask &= 0xf000;
    } else if (!f.instead.empty()) { // an identifier
        if (value == none) {
            value = 0;
        } else if (value > identifier) {
            return flow_fault{word.value, std::string{word.key} +
                                              " must be from 0 to 4095, or 0xffff for no tag"};
        } else {
            value |= flow::vlan_present;
            mask &= flow::vlan_present | identifier;
        }
    } else if (f.width == 12) { // vlan_vid, an identifier with the bit
        if (value > (flow::vlan_present | identifier)) {
            return flow_fault{word.value, "vlan_vid must be 0 for no tag, or 0x1000 and a VLAN"};
        }
        mask &= flow::vlan_present | identifier;
    }
    if ((mask & flow::vlan_present & ~value) != 0 && value != 0) {
        return flow_fault{word.value, shown(word.value) +
                                          " is no VLAN that a packet has: a tag has "
                                          "0x1000 set"};
    }
    return add({&f, word.all, {wide{value}, wide{mask}}});
}

flow_result<void> match_reader::take_range(const flow_field& f, const flow_word& word)
{
    const std::size_t dash = word.value.find('-');
    constexpr std::uint64_t largest = 0xffff;
    const auto first = parse_number(word.value.substr(0, dash), largest, word.key);
    const auto last = parse_number(word.value.substr(dash + 1), largest, word.key);
    if (first.has_error() || last.has_error()) {
        return first.has_error() ? first.error() : last.error();
    }
    if (*last < *first) {
        return flow_fault{word.value, shown(word.value) + " ends before it begins; a range of " +
                                          std::string{word.key} + " must be like 1000-1999"};
    }
    wish w{&f, word.all, {}, {}};
    w.choices = cover_range(static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last));
    if (w.choices.size() == 1) {
        w.in_key = w.choices.front();
        w.choices.clear();
    }
    return add(std::move(w));
}

flow_result<void> match_reader::add(wish w)
{
    for (const wish& before : wishes_) {
        if (before.field->of != w.field->of) {
            continue;
        }
        const bool is_other_part =
            before.in_part && w.in_part && (before.in_key.mask & w.in_key.mask).is_zero();
        if (is_same(*before.field, *w.field) && !is_other_part) {
            if (before.in_key == w.in_key && before.choices == w.choices) {
                return {}; // says it once more
            }
            return flow_fault{w.word, shown(w.word) + " contradicts " + shown(before.word) +
                                          "; a field may be matched once"};
        }
        if (before.choices.empty() != w.choices.empty()) {
            return flow_fault{w.word, shown(w.word) + " and " + shown(before.word) +
                                          " are the same field; it may be matched once"};
        }
    }
    const flow::match asked = [&w] {
        flow::match m;
        m.require(w.field->of, w.in_key.value, w.in_key.mask);
        return m;
    }();
    for (std::size_t i = 0; i < flow::key_words; ++i) {
        const std::uint64_t shared = asked.mask.words[i] & match_.mask.words[i];
        if (((asked.value.words[i] ^ match_.value.words[i]) & shared) != 0) {
            return flow_fault{w.word, shown(w.word) + " contradicts what stands before it: no "
                                                      "packet has both"};
        }
        match_.mask.words[i] |= asked.mask.words[i];
        match_.value.words[i] |= asked.value.words[i];
    }
    wishes_.push_back(std::move(w));
    return {};
}

flow_result<void> match_reader::check(const wish& w) const
{
    const prerequisite needs = w.field->match_needs.value_or(w.field->needs);
    if (!holds(needs, match_)) {
        return flow_fault{w.word,
                          shown(w.word) + " needs in the match " + std::string{describe(needs)}};
    }
    constexpr std::uint64_t largest = 0xff;
    if (needs == prerequisite::ports_or_icmp && holds(prerequisite::icmp, match_) &&
        (!w.choices.empty() || w.in_key.mask != wide::ones(16) || w.in_key.value.low > largest)) {
        return flow_fault{w.word, shown(w.word) + " is ICMP's type or code here, which must be one "
                                                  "number from 0 to 255"};
    }
    return {};
}

flow_result<std::vector<flow::match>> match_reader::finish() const
{
    for (const wish& w : wishes_) {
        if (const auto fits = check(w); fits.has_error()) {
            return fits.error();
        }
    }
    std::vector<flow::match> out{match_};
    for (const wish& w : wishes_) {
        if (w.choices.empty()) {
            continue;
        }
        if (out.size() * w.choices.size() > most_matches) {
            return flow_fault{w.word, "the ranges of this flow make " +
                                          std::to_string(out.size() * w.choices.size()) +
                                          " flows with masks; there may be " +
                                          std::to_string(most_matches)};
        }
        std::vector<flow::match> more;
        more.reserve(out.size() * w.choices.size());
        for (const auto& m : out) {
            for (const auto& choice : w.choices) {
                more.push_back(m);
                more.back().require(w.field->of, choice.value, choice.mask);
            }
        }
        out = std::move(more);
    }
    return out;
}

flow_result<flow::key> match_reader::packet() const
{
    for (const wish& w : wishes_) {
        if (const auto fits = check(w); fits.has_error()) {
            return fits.error();
        }
        if (!w.choices.empty() || !says_all(*w.field, w.in_key)) {
            return flow_fault{w.word, shown(w.word) + " is not one value, which a packet has of " +
                                          std::string{w.field->name}};
        }
    }
    flow::key out = match_.value;
    // What connection tracking says, it says of what it tracks.
    constexpr std::uint64_t tracked = 0x20;
    if (out.number(field::ct_state) != 0) {
        out.set(field::ct_state, wide{tracked}, wide{tracked});
    }
    if ((out.number(field::nw_frag) & flow::frag_later) != 0) {
        out.set(field::nw_frag, wide{std::uint64_t{flow::frag_any | flow::frag_later}});
    }
    return out;
}

bool match_reader::has(field f) const noexcept
{
    return std::ranges::any_of(wishes_, [f](const wish& w) { return w.field->of == f; });
}

flow_result<void> read_match(std::string_view text, match_reader& reader)
{
    flow_words words{text};
    for (;;) {
        const auto word = words.next();
        if (word.has_error()) {
            return word.error();
        }
        if (!*word) {
            return {};
        }
        const auto taken = reader.take(**word);
        if (taken.has_error()) {
            return taken.error();
        }
        if (!*taken) {
            const std::string_view key = (*word)->key;
            return flow_fault{key, shown(key) + " is no word of a match" +
                                       suggestion(key, match_words())};
        }
    }
}

std::vector<std::string> match_words()
{
    std::vector<std::string> out;
    for (const auto& f : flow_fields()) {
        out.emplace_back(f.name);
        if (!f.alias.empty()) {
            out.emplace_back(f.alias);
        }
    }
    for (const auto& s : shorthands()) {
        out.emplace_back(s.name);
    }
    return out;
}

} // namespace strait::control
