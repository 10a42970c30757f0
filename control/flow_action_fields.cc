// SPDX-License-Identifier: BSD-3-Clause
// Reading actions that set, copy and keep fields (flow_action_text.hh).
#include "control/flow_action_reader.hh"

#include "control/flow_options.hh"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace strait::control {

using flow::field;
using flow::subfield;
using flow::wide;

namespace {

constexpr std::string_view arrow = "->";

// What stands on both sides of an arrow.
struct sides {
    std::string_view from;
    std::string_view to;
};

flow_result<sides> split(const flow_word& word, std::string_view form)
{
    const std::size_t at = word.value.find(arrow);
    if (at == std::string_view::npos || word.mark == '(') {
        return flow_fault{word.all, std::string{word.key} + " must be like " + std::string{form}};
    }
    return sides{word.value.substr(0, at), word.value.substr(at + arrow.size())};
}

// A number that was read as text is right only if no bit falls out of the key.
bool fits_key(const flow_field& f, const masked_value& text)
{
    return f.to_text(f.to_key(text.value)) == text.value;
}

flow_fault does_not_fit(const flow_field& f, std::string_view at)
{
    if (f.name == "nw_tos") {
        return {at, "nw_tos has DSCP alone and must be a multiple of 4; nw_ecn has the lowest two "
                    "bits"};
    }
    return {at, shown(at) + " is too large for " + std::string{f.name} + ", of which " +
                    std::to_string(f.bits) + " bits are used"};
}

} // namespace

void action_reader::set(field of, wide value, wide mask)
{
    out_.push_back(flow::action{flow::set_field{of, value & mask, mask}});
    if (of == field::vlan_tci) {
        state_.require(of, value, mask); // whether there is a tag
    }
}

flow_result<void> action_reader::check_needs(std::string_view name, prerequisite p,
                                             std::string_view at) const
{
    if (any_packets_) {
        constexpr std::array<prerequisite, 6> shared{
            prerequisite::arp,
            prerequisite::icmp4,
            prerequisite::icmp6,
            prerequisite::neighbour,
            prerequisite::neighbour_solicitation,
            prerequisite::neighbour_advertisement,
        };
        if (std::ranges::find(shared, p) == shared.end()) {
            return {};
        }
        return flow_fault{at, "packets of any kind meet a bucket: " + std::string{name} +
                                  " cannot be told from another field there"};
    }
    if (!holds(p, state_)) {
        return flow_fault{at,
                          std::string{name} + " needs in the match " + std::string{describe(p)}};
    }
    return {};
}

flow_result<void> action_reader::check_readable(const flow_field& f, std::string_view at) const
{
    const std::string name{at.substr(0, at.find('['))};
    if (f.form == value_form::port_32) {
        return flow_fault{at, name + " cannot be copied; in_port can"};
    }
    return check_needs(name, f.needs, at);
}

flow_result<void> action_reader::check_writable(const flow_field& f, std::string_view at) const
{
    const std::string name{at.substr(0, at.find('['))};
    if (!f.writable) {
        return flow_fault{at, name + " can be matched, not set"};
    }
    if (f.connection != (place_ == place::connection)) {
        return flow_fault{at, f.connection ? name + " is a connection's: it is set by "
                                                    "ct(commit,exec(...)) alone"
                                           : "exec sets ct_mark and ct_label alone, not " + name};
    }
    return check_needs(name, f.needs, at);
}

// Bits that are in the key as they are in text.
flow_result<subfield> action_reader::readable(std::string_view text) const
{
    const auto bits = parse_field_bits(text, *ports_);
    if (bits.has_error()) {
        return bits.error();
    }
    if (const auto may = check_readable(*bits->field, text); may.has_error()) {
        return may.error();
    }
    if (bits->first < bits->field->low) {
        return flow_fault{text, "nw_tos has zeros in its lowest two bits; write ip_dscp"};
    }
    const subfield s = bits->in_key();
    if (s.bits == 0) {
        return flow_fault{text, shown(text) + " is always zero"};
    }
    if (bits->field->option != nullptr && s.bits != bits->bits) {
        const std::string name{bits->field->name};
        return flow_fault{text, "this takes up to 64 bits of " + name +
                                    " that lie together, like " + name + "[0..63] or " + name +
                                    "[64..95]"};
    }
    return s;
}

flow_result<subfield> action_reader::writable(std::string_view text) const
{
    const auto bits = parse_field_bits(text, *ports_);
    if (bits.has_error()) {
        return bits.error();
    }
    if (const auto may = check_writable(*bits->field, text); may.has_error()) {
        return may.error();
    }
    return readable(text);
}

// set_field:value[/mask]->name
flow_result<void> action_reader::take_set_field(const flow_word& word)
{
    const auto both = split(word, "set_field:value->field");
    if (both.has_error()) {
        return both.error();
    }
    const flow_field* f = find_field(both->to);
    if (f == nullptr || f->name.empty() || (both->to != f->name && both->to != f->alias)) {
        const auto bits = parse_field_bits(both->to, *ports_);
        return bits.has_error() ? bits.error()
                                : flow_fault{both->to, "set_field takes a field by its name, " +
                                                           std::string{bits->field->name} +
                                                           "; load sets some of its bits"};
    }
    if (!f->instead.empty()) {
        return parse_field_bits(both->to).error();
    }
    if (const auto may = check_writable(*f, both->to); may.has_error()) {
        return may.error();
    }
    if (f->is_option) {
        const auto known = known_field(*f, both->to, *ports_);
        return known.has_error() ? known.error() : set_option(**known, word, both->from);
    }
    const bool is_vlan = f->name == "vlan_vid";
    const unsigned width = f->width + (is_vlan ? 1U : 0U); // with the bit that there is a tag
    auto text = parse_value(f->form, width, f->name, both->from, *ports_);
    if (text.has_error()) {
        return text.error();
    }
    const bool exact = text->mask == wide::ones(width);
    if (text->mask.is_zero()) {
        return flow_fault{word.all, shown(word.all) + " sets no bit"};
    }
    if (!f->maskable && !exact) {
        return flow_fault{both->from, std::string{f->name} + " takes no mask"};
    }
    if (f->of == field::vlan_tci && f->name != "vlan_tci") {
        const wide there{exact ? std::uint64_t{flow::vlan_present} : 0};
        set(f->of, (text->value << f->first) | there, (text->mask << f->first) | there);
        return {};
    }
    if (!fits_key(*f, *text)) {
        return does_not_fit(*f, both->from);
    }
    set(f->of, f->to_key(text->value), f->to_key(text->mask));
    return {};
}

flow_result<void> action_reader::set_option(const flow_field& f, const flow_word& word,
                                            std::string_view value)
{
    const option_field& field = *ports_->options()->at(f.option->index);
    const auto to = parse_option_value(field, value);
    if (to.has_error()) {
        return to.error();
    }
    if (to->mask == option_value{}.mask) {
        return flow_fault{word.all, shown(word.all) + " sets no bit"};
    }
    for (std::size_t i = 0; i < field.parts.size(); ++i) {
        if (to->mask[i] != 0) {
            set(field.parts[i].of, wide{to->value[i]}, wide{to->mask[i]});
        }
    }
    return {};
}

// delete_field:tun_metadata0
flow_result<void> action_reader::take_delete_field(const flow_word& word)
{
    const flow_field* const f = find_field(word.value);
    if (f == nullptr || !f->is_option) {
        return flow_fault{word.all, "delete_field takes an option of Geneve out, like "
                                    "delete_field:tun_metadata0; other fields stay"};
    }
    if (const auto may = check_writable(*f, word.value); may.has_error()) {
        return may.error();
    }
    const auto known = known_field(*f, word.value, *ports_);
    if (known.has_error()) {
        return known.error();
    }
    set(field::tun_present, {}, (*known)->option->present_bit());
    return {};
}

// load:value->field[bits]
flow_result<void> action_reader::take_load(const flow_word& word)
{
    const auto both = split(word, "load:value->field[0..7]");
    if (both.has_error()) {
        return both.error();
    }
    const auto bits = parse_field_bits(both->to, *ports_);
    if (bits.has_error()) {
        return bits.error();
    }
    const flow_field& f = *bits->field;
    if (const auto may = check_writable(f, both->to); may.has_error()) {
        return may.error();
    }
    const auto number = parse_integer(both->from);
    if (!number) {
        return flow_fault{both->from, shown(both->from) +
                                          " is no number; load takes one, set_field "
                                          "takes addresses too"};
    }
    if (exceeds(*number, bits->bits)) {
        return flow_fault{both->from, shown(both->from) + " does not fit into " +
                                          std::to_string(bits->bits) +
                                          (bits->bits == 1 ? " bit" : " bits")};
    }
    if (f.option != nullptr) {
        for (unsigned done = 0; done < bits->bits;) {
            const subfield s = subfield_of(*f.option, bits->first + done, bits->bits - done);
            const wide some = done < 128 ? *number >> done : wide{};
            set(s.of, some << s.first, s.mask());
            done += s.bits;
        }
        return {};
    }
    const masked_value text{*number << bits->first, wide::ones(bits->bits) << bits->first};
    if (!fits_key(f, text) && f.form != value_form::port_32) {
        return does_not_fit(f, both->from);
    }
    const wide mask = f.to_key(text.mask);
    if (!mask.is_zero()) { // else it sets zeros where there is nothing else
        set(f.of, f.to_key(text.value), mask);
    }
    return {};
}

namespace {

// Where the key has one bit of those that text says; nothing: it is always zero.
std::optional<subfield> key_bit(const field_bits& side, unsigned bit)
{
    const field_bits one{side.field, side.first + bit, 1, side.text};
    const subfield s = one.in_key();
    return s.bits == 0 ? std::nullopt : std::optional{s};
}

// Makes `to` one bit longer if that is the bit behind it.
bool append_bit(subfield& to, const subfield& bit)
{
    const bool is_next = to.of == bit.of && to.first + to.bits == bit.first;
    to.bits = static_cast<std::uint8_t>(to.bits + (is_next ? 1 : 0));
    return is_next;
}

// What is zero on the left and in the key on the right, and what is in the key on both sides.
struct parts_of_move {
    std::vector<subfield> zeros;
    std::vector<flow::move_field> fields;
};
parts_of_move moves_of(const field_bits& from, const field_bits& to)
{
    parts_of_move out;
    for (unsigned bit = 0; bit < from.bits; ++bit) {
        const auto source = key_bit(from, bit);
        const auto target = key_bit(to, bit);
        if (target && !source && (out.zeros.empty() || !append_bit(out.zeros.back(), *target))) {
            out.zeros.push_back(*target);
        }
        if (!target || !source) {
            continue;
        }
        flow::move_field longer = out.fields.empty() ? flow::move_field{} : out.fields.back();
        if (!out.fields.empty() && append_bit(longer.from, *source) &&
            append_bit(longer.to, *target)) {
            out.fields.back() = longer;
        } else {
            out.fields.push_back({*source, *target});
        }
    }
    // Within one option, no part of it is to be written before it is read.
    if (from.field == to.field && to.first > from.first) {
        std::ranges::reverse(out.fields);
    }
    return out;
}

} // namespace

// move:field[bits]->field[bits]. Where the source has zeros that are not in the key, they are set.
flow_result<void> action_reader::take_move(const flow_word& word)
{
    const auto both = split(word, "move:field[0..7]->field[0..7]");
    if (both.has_error()) {
        return both.error();
    }
    const auto from = parse_field_bits(both->from, *ports_);
    if (from.has_error()) {
        return from.error();
    }
    const auto to = parse_field_bits(both->to, *ports_);
    if (to.has_error()) {
        return to.error();
    }
    const auto reads = check_readable(*from->field, both->from);
    const auto writes = check_writable(*to->field, both->to);
    if (reads.has_error() || writes.has_error()) {
        return reads.has_error() ? reads.error() : writes.error();
    }
    if (from->bits != to->bits) {
        return flow_fault{word.value, shown(both->from) + " has " + std::to_string(from->bits) +
                                          " bits and " + shown(both->to) + " has " +
                                          std::to_string(to->bits) +
                                          "; a move is between as many bits"};
    }
    const auto moves = moves_of(*from, *to);
    for (const subfield& zeros : moves.zeros) {
        set(zeros.of, wide{}, zeros.mask());
    }
    for (const flow::move_field& m : moves.fields) {
        out_.push_back(flow::action{m});
    }
    return moves.zeros.empty() && moves.fields.empty()
               ? flow_fault{word.all, shown(word.all) + " moves no bit"}
               : flow_result<void>{};
}

flow_result<void> action_reader::take_push(const flow_word& word)
{
    const auto from = readable(word.value);
    if (from.has_error()) {
        return from.error();
    }
    return put(flow::stack_push{*from});
}

flow_result<void> action_reader::take_pop(const flow_word& word)
{
    const auto to = writable(word.value);
    if (to.has_error()) {
        return to.error();
    }
    return put(flow::stack_pop{*to});
}

flow_result<void> action_reader::modify(const flow_word& word, std::string_view what, subfield to,
                                        std::uint64_t maximum, prerequisite may_not_contradict)
{
    if (contradicts(may_not_contradict, state_)) {
        return flow_fault{word.all, std::string{word.key} + " needs in the match " +
                                        std::string{describe(may_not_contradict)}};
    }
    const auto number = parse_number(word.value, maximum, what);
    if (number.has_error()) {
        return number.error();
    }
    set(to.of, wide{*number} << to.first, to.mask());
    return {};
}

flow_result<void> action_reader::modify_address(const flow_word& word, field to, value_form form,
                                                prerequisite may_not_contradict)
{
    if (contradicts(may_not_contradict, state_)) {
        return flow_fault{word.all, std::string{word.key} + " needs in the match " +
                                        std::string{describe(may_not_contradict)}};
    }
    const unsigned bits = flow::width_of(to);
    const auto address = parse_value(form, bits, word.key, word.value, *ports_);
    if (address.has_error()) {
        return address.error();
    }
    if (address->mask != wide::ones(bits)) {
        return flow_fault{word.value, std::string{word.key} + " sets an address and takes no mask"};
    }
    set(to, address->value, address->mask);
    return {};
}

flow_result<void> action_reader::take_mod_dl_src(const flow_word& word)
{
    return modify_address(word, field::eth_src, value_form::ethernet, prerequisite::none);
}

flow_result<void> action_reader::take_mod_dl_dst(const flow_word& word)
{
    return modify_address(word, field::eth_dst, value_form::ethernet, prerequisite::none);
}

flow_result<void> action_reader::take_mod_nw_src(const flow_word& word)
{
    return modify_address(word, field::nw_src, value_form::ipv4, prerequisite::ipv4);
}

flow_result<void> action_reader::take_mod_nw_dst(const flow_word& word)
{
    return modify_address(word, field::nw_dst, value_form::ipv4, prerequisite::ipv4);
}

flow_result<void> action_reader::take_mod_nw_tos(const flow_word& word)
{
    constexpr std::uint64_t maximum = 255;
    if (contradicts(prerequisite::ip, state_)) {
        return flow_fault{word.all, "mod_nw_tos needs in the match " +
                                        std::string{describe(prerequisite::ip)}};
    }
    const auto number = parse_number(word.value, maximum, "TOS");
    if (number.has_error()) {
        return number.error();
    }
    if (*number % 4 != 0) {
        return flow_fault{word.value, "mod_nw_tos sets DSCP and takes a multiple of 4; mod_nw_ecn "
                                      "sets the lowest two bits"};
    }
    constexpr std::uint64_t dscp = 0xfc;
    set(field::nw_tos, wide{*number}, wide{dscp});
    return {};
}

flow_result<void> action_reader::take_mod_nw_ecn(const flow_word& word)
{
    const auto may = check_writable(*find_field("nw_ecn"), word.key);
    return may.has_error() ? may : modify(word, "ECN", {field::nw_tos, 0, 2}, 3, prerequisite::ip);
}

flow_result<void> action_reader::take_mod_nw_ttl(const flow_word& word)
{
    constexpr std::uint64_t maximum = 255;
    const auto may = check_writable(*find_field("nw_ttl"), word.key);
    return may.has_error()
               ? may
               : modify(word, "TTL", subfield::whole(field::nw_ttl), maximum, prerequisite::ip);
}

flow_result<void> action_reader::take_mod_tp_src(const flow_word& word)
{
    constexpr std::uint64_t maximum = 0xffff;
    return modify(word, "port of a protocol", subfield::whole(field::tp_src), maximum,
                  prerequisite::ports);
}

flow_result<void> action_reader::take_mod_tp_dst(const flow_word& word)
{
    constexpr std::uint64_t maximum = 0xffff;
    return modify(word, "port of a protocol", subfield::whole(field::tp_dst), maximum,
                  prerequisite::ports);
}

// With a tag's bit: a packet that has no tag is given one.
flow_result<void> action_reader::take_mod_vlan_vid(const flow_word& word)
{
    constexpr std::uint64_t maximum = 0xfff;
    const auto number = parse_number(word.value, maximum, "VLAN");
    if (number.has_error()) {
        return number.error();
    }
    const wide there{flow::vlan_present};
    set(field::vlan_tci, wide{*number} | there, wide{maximum} | there);
    return {};
}

flow_result<void> action_reader::take_mod_vlan_pcp(const flow_word& word)
{
    constexpr std::uint64_t maximum = 7;
    const auto number = parse_number(word.value, maximum, "priority of a VLAN");
    if (number.has_error()) {
        return number.error();
    }
    const wide there{flow::vlan_present};
    set(field::vlan_tci, (wide{*number} << 13) | there, (wide{maximum} << 13) | there);
    return {};
}

flow_result<void> action_reader::take_set_tunnel(const flow_word& word)
{
    return take_set_tunnel64(word);
}

flow_result<void> action_reader::take_set_tunnel64(const flow_word& word)
{
    return modify(word, "tunnel ID", subfield::whole(field::tun_id), ~std::uint64_t{0},
                  prerequisite::none);
}

// check_pkt_larger(length)->field[bit]
flow_result<void> action_reader::take_check_pkt_larger(const flow_word& word)
{
    constexpr std::uint64_t maximum = 0xffff;
    std::string_view length = word.value;
    std::string_view target = word.target;
    if (word.mark != '(') {
        const auto both = split(word, "check_pkt_larger(1500)->reg0[0]");
        if (both.has_error()) {
            return both.error();
        }
        length = both->from;
        target = both->to;
    }
    if (target.empty()) {
        return flow_fault{word.all,
                          "check_pkt_larger must be like check_pkt_larger(1500)->reg0[0]"};
    }
    const auto number = parse_number(length, maximum, "length");
    if (number.has_error()) {
        return number.error();
    }
    const auto to = writable(target);
    if (to.has_error()) {
        return to.error();
    }
    if (to->bits != 1) {
        return flow_fault{target, "check_pkt_larger sets one bit, like reg0[0], not " +
                                      std::to_string(to->bits)};
    }
    return put(flow::check_pkt_larger{static_cast<std::uint16_t>(*number), *to});
}

// write_metadata:value[/mask]
flow_result<void> action_reader::take_write_metadata(const flow_word& word)
{
    constexpr unsigned bits = 64;
    const auto value = parse_value(value_form::hexadecimal, bits, word.key, word.value, *ports_);
    if (value.has_error()) {
        return value.error();
    }
    if (value->mask.is_zero()) {
        return flow_fault{word.all, shown(word.all) + " sets no bit"};
    }
    set(field::metadata, value->value, value->mask);
    return {};
}

} // namespace strait::control
