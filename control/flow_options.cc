// SPDX-License-Identifier: BSD-3-Clause
#include "control/flow_options.hh"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

namespace strait::control {

using flow::field;
using flow::wide;

namespace {

constexpr unsigned word_bits = 64;
constexpr std::string_view option_name = "tun_metadata";
constexpr std::string_view form = "{class=0x102,type=0x80,len=4}->tun_metadata0";

std::unique_ptr<const option_field> make_field(const flow::option& o)
{
    const std::string number = std::to_string(o.index);
    auto out = std::make_unique<option_field>();
    out->name = std::string{option_name} + number;
    out->nxm = "NXM_NX_TUN_METADATA" + number;
    const auto bits = static_cast<std::uint16_t>(o.bits());
    out->whole = {.name = out->name,
                  .nxm = out->nxm,
                  .of = field::tun_present,
                  .width = bits,
                  .bits = bits,
                  .is_option = true,
                  .option = &o};
    out->present = {.name = out->name,
                    .of = field::tun_present,
                    .width = 1,
                    .bits = 1,
                    .first = o.words[0],
                    .is_option = true};
    for (std::size_t i = 0; i < o.word_count(); ++i) {
        const auto some = static_cast<std::uint16_t>(o.bits_at(i));
        out->parts.push_back({.name = out->name, .of = o.field_at(i), .width = some, .bits = some});
    }
    return out;
}

std::uint64_t ones(unsigned bits)
{
    return wide::ones(bits).low;
}

// Nothing: it is no number.
std::optional<option_value::words> parse_words(std::string_view text, bool& too_large)
{
    constexpr std::size_t digits = word_bits / 4;
    option_value::words out{};
    if (!text.starts_with("0x") && !text.starts_with("0X")) {
        const auto number = parse_integer(text);
        if (!number) {
            return std::nullopt;
        }
        out[0] = number->low;
        return out;
    }
    text.remove_prefix(2);
    std::size_t at = 0;
    do {
        const std::size_t some = std::min(text.size(), digits);
        const auto word = parse_integer(std::string{"0x"}.append(text.substr(text.size() - some)));
        if (!word) {
            return std::nullopt;
        }
        if (at < out.size()) {
            out[at++] = word->low;
        } else {
            too_large = too_large || word->low != 0;
        }
        text.remove_suffix(some);
    } while (!text.empty());
    return out;
}

flow_result<option_value::words> parse_number_of(const option_field& f, std::string_view text)
{
    bool too_large = false;
    const auto number = parse_words(text, too_large);
    if (!number) {
        return flow_fault{text, shown(text) + " is no value of " + f.name +
                                    "; it must be a number, decimal or hexadecimal with 0x in "
                                    "front, with a mask behind a slash or without"};
    }
    for (std::size_t i = 0; i < number->size(); ++i) {
        const bool there = i < f.parts.size();
        too_large = too_large || ((*number)[i] & (there ? ~ones(f.parts[i].width) : ones(64))) != 0;
    }
    if (too_large) {
        return flow_fault{text, shown(text) + " is too large for " + f.name + ", which has " +
                                    std::to_string(f.whole.width) + " bits"};
    }
    return *number;
}

option_value::words all_ones(const flow::option& o)
{
    option_value::words out{};
    for (std::size_t i = 0; i < o.word_count(); ++i) {
        out[i] = ones(o.bits_at(i));
    }
    return out;
}

void append_words(std::string& out, const option_value::words& words)
{
    std::size_t at = words.size() - 1;
    while (at > 0 && words[at] == 0) {
        --at;
    }
    append_hexadecimal(out, wide{words[at]});
    while (at > 0) {
        append_padded(out, words[--at], word_bits / 4);
    }
}

// Which word of an option a field is.
std::size_t place_in(const flow::option& o, field f)
{
    std::size_t at = 0;
    while (at + 1 < o.word_count() && o.field_at(at) != f) {
        ++at;
    }
    return at;
}

} // namespace

option_names::option_names(const flow::option_map& known) : known_{known}
{
    for (const flow::option& o : known_.all()) {
        all_.push_back(make_field(o));
    }
}

const option_field* option_names::at(std::size_t index) const noexcept
{
    const auto found = std::ranges::find_if(
        all_, [index](const auto& f) { return f->whole.option->index == index; });
    return found == all_.end() ? nullptr : found->get();
}

flow_result<option_value> parse_option_value(const option_field& f, std::string_view text)
{
    if (text == "*") {
        return option_value{};
    }
    const std::size_t slash = text.find('/');
    const auto value = parse_number_of(f, text.substr(0, slash));
    if (value.has_error()) {
        return value.error();
    }
    option_value out{*value, all_ones(*f.whole.option)};
    if (slash != std::string_view::npos) {
        const auto mask = parse_number_of(f, text.substr(slash + 1));
        if (mask.has_error()) {
            return mask.error();
        }
        out.mask = *mask;
        std::ranges::transform(out.value, out.mask, out.value.begin(), std::bit_and<>{});
    }
    return out;
}

void append_option_value(std::string& out, const flow::option& o, const option_value& v)
{
    append_words(out, v.value);
    if (v.mask != all_ones(o)) {
        out += '/';
        append_words(out, v.mask);
    }
}

flow::subfield subfield_of(const flow::option& o, unsigned first, unsigned bits) noexcept
{
    const std::size_t word = first / word_bits;
    const unsigned at = first % word_bits;
    return {o.field_at(word), static_cast<std::uint8_t>(at),
            static_cast<std::uint8_t>(std::min(bits, word_bits - at))};
}

void append_option_bits(std::string& out, const flow::subfield& s, const port_names* names)
{
    const option_names* const options = names != nullptr ? names->options() : nullptr;
    const flow::option* const o = options != nullptr ? options->map().owner_of(s.of) : nullptr;
    if (o == nullptr) { // no rule has what its bridge does not know
        out += "NXM_NX_TUN_METADATA[]";
        return;
    }
    out += options->at(o->index)->nxm;
    const auto first = static_cast<unsigned>(word_bits * place_in(*o, s.of)) + s.first;
    if (first == 0 && s.bits == o->bits()) {
        out += "[]";
        return;
    }
    out += '[';
    append_decimal(out, first);
    if (s.bits > 1) {
        out += "..";
        append_decimal(out, first + s.bits - 1);
    }
    out += ']';
}

void append_options(std::string& out, const flow::match& m, const port_names* names)
{
    const option_names* const options = names != nullptr ? names->options() : nullptr;
    if (options == nullptr) {
        return; // no rule has what its bridge does not know
    }
    for (const flow::option& o : options->map().all()) {
        if ((m.mask.get(field::tun_present) & o.present_bit()).is_zero()) {
            continue;
        }
        const option_field& f = *options->at(o.index);
        out += f.name;
        option_value v;
        for (std::size_t word = 0; word < f.parts.size(); ++word) {
            v.value[word] = m.value.number(f.parts[word].of);
            v.mask[word] = m.mask.number(f.parts[word].of);
        }
        if (v.mask != option_value{}.mask) {
            out += '=';
            append_option_value(out, o, v);
        }
        out += ',';
    }
}

namespace {

// One of a map's, from which it is taken off.
class option_reader {
public:
    explicit option_reader(std::string_view& text) noexcept : text_{text} {}

    flow_result<flow::option> read(bool to_remove)
    {
        flow::option out;
        const std::string_view begin = text_;
        if (take("{")) {
            const auto inside = read_braces(out);
            if (inside.has_error()) {
                return inside.error();
            }
            if (!take("->")) {
                return wrong("behind } there must be ->tun_metadata and its number");
            }
        } else if (!to_remove || !text_.starts_with(option_name)) {
            return wrong(shown(begin) + " is no option; it must be like " + std::string{form});
        }
        const auto index = read_index();
        if (index.has_error()) {
            return index.error();
        }
        out.index = *index;
        return out;
    }

private:
    [[nodiscard]] flow_fault wrong(std::string why) const { return {text_, std::move(why)}; }
    void skip_blanks()
    {
        text_.remove_prefix(std::min(text_.find_first_not_of(" \t"), text_.size()));
    }
    bool take(std::string_view what)
    {
        skip_blanks();
        const bool is = text_.starts_with(what);
        text_.remove_prefix(is ? what.size() : 0);
        return is;
    }
    std::string_view take_until(std::string_view marks)
    {
        const std::string_view word = text_.substr(0, text_.find_first_of(marks));
        text_.remove_prefix(word.size());
        return trimmed(word);
    }

    // class=0x102,type=0x80,len=4}
    flow_result<void> read_braces(flow::option& out)
    {
        std::array<bool, 3> seen{};
        constexpr std::array<std::string_view, 3> keys{"class", "type", "len"};
        do {
            const std::string_view key = take_until("=,}");
            const auto which =
                static_cast<std::size_t>(std::ranges::find(keys, key) - keys.begin());
            if (which == keys.size() || !take("=")) {
                return flow_fault{key, shown(key) +
                                           " is nothing that an option has; it must be "
                                           "like " +
                                           std::string{form}};
            }
            if (std::exchange(seen[which], true)) {
                return flow_fault{key, std::string{key} + " may be given once"};
            }
            const std::string_view value = take_until(",}");
            constexpr std::array<std::uint64_t, 3> most{0xffff, 0xff, 0xff};
            constexpr std::uint64_t longest = 124;
            const auto number = parse_number(value, most.at(which), key);
            if (number.has_error()) {
                return number.error();
            }
            if (which == 2 && (*number == 0 || *number % 4 != 0 || *number > longest)) {
                return flow_fault{value, shown(value) + " is no length of an option; it must be "
                                                        "a multiple of 4, from 4 to 124"};
            }
            out.option_class = which == 0 ? static_cast<std::uint16_t>(*number) : out.option_class;
            out.type = which == 1 ? static_cast<std::uint8_t>(*number) : out.type;
            out.length = which == 2 ? static_cast<std::uint8_t>(*number) : out.length;
        } while (take(","));
        if (!take("}")) {
            return wrong("} is missing here");
        }
        if (!seen[0] || !seen[1] || !seen[2]) {
            return wrong("an option has class, type and len; it must be like " + std::string{form});
        }
        return {};
    }

    flow_result<std::uint8_t> read_index()
    {
        skip_blanks();
        const std::string_view word = take_until(", \t\r\n");
        const flow_field* const f = find_field(word);
        if (f == nullptr || !f->is_option) {
            return flow_fault{word, shown(word) + " is no name of an option; it must be "
                                                  "tun_metadata0 to tun_metadata63"};
        }
        return f->index;
    }

    std::string_view& text_;
};

} // namespace

ports::result<std::vector<flow::option>> parse_options(std::string_view text, bool to_remove)
{
    std::vector<flow::option> out;
    std::string_view left = text;
    do {
        left.remove_prefix(std::min(left.find_first_not_of(", \t\r\n"), left.size()));
        const auto one = option_reader{left}.read(to_remove);
        if (one.has_error()) {
            return ports::error{at_column(text, one.error())};
        }
        out.push_back(*one);
    } while (left.find_first_not_of(", \t\r\n") != std::string_view::npos);
    return out;
}

std::string format_option(const flow::option& o)
{
    std::string out = "{class=";
    append_hexadecimal(out, wide{o.option_class});
    out += ",type=";
    append_hexadecimal(out, wide{o.type});
    out += ",len=";
    append_decimal(out, o.length);
    out += "}->";
    out += option_name;
    append_decimal(out, o.index);
    return out;
}

outcome<void> add_option(flow::option_map& to, const flow::option& o)
{
    const std::string name = "tun_metadata" + std::to_string(o.index);
    if (const flow::option* const same = to.at(o.index)) {
        return failure{failure_kind::exists, name + " is " + format_option(*same) +
                                                 " already; remove that first: tlv-map del " +
                                                 name};
    }
    if (const flow::option* const same = to.find(o.option_class, o.type)) {
        return failure{failure_kind::exists,
                       "this option is known already: " + format_option(*same)};
    }
    if (!to.add(o)) {
        return failure{failure_kind::limit, format_option(o) + " has no room: flows have " +
                                                std::to_string(flow::longest_option_data) +
                                                " bytes for all options of a bridge, " +
                                                std::to_string(flow::option_word_bytes) +
                                                " or a multiple of them for each, of which " +
                                                std::to_string(to.room()) + " are left"};
    }
    return {};
}

bool names_options(const flow::match& m) noexcept
{
    return m.mask.number(flow::field::tun_present) != 0;
}

} // namespace strait::control
