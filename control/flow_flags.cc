// SPDX-License-Identifier: BSD-3-Clause
// Flags and fragments as words and back.
#include "control/flow_flags.hh"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

namespace strait::control {

using flow::wide;

namespace {

// From the lowest bit.
constexpr std::array<std::string_view, 12> tcp_words{
    "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"};
constexpr std::array<std::string_view, 8> ct_words{"new", "est", "rel",  "rpl",
                                                   "inv", "trk", "snat", "dnat"};
constexpr std::array<std::string_view, 1> tunnel_words{"oam"};

std::span<const std::string_view> words_of(value_form form)
{
    switch (form) {
    case value_form::tcp_flags:
        return tcp_words;
    case value_form::ct_flags:
        return ct_words;
    default:
        return tunnel_words;
    }
}

std::string listed(std::span<const std::string_view> words)
{
    std::string out;
    for (const auto word : words) {
        out += (out.empty() ? "" : ", ") + std::string{word};
    }
    return out;
}

flow_fault no_flag(std::string_view name, std::string_view word,
                   std::span<const std::string_view> words)
{
    return {word, std::string{name} + " has no flag " + shown(word) + "; it has " + listed(words)};
}

flow_result<std::uint64_t> flag_of(value_form form, std::string_view name, std::string_view word)
{
    const auto words = words_of(form);
    const auto found = std::ranges::find(words, word);
    if (found == words.end()) {
        return no_flag(name, word, words);
    }
    return std::uint64_t{1} << (found - words.begin());
}

// +flag-flag
flow_result<masked_value> parse_signed(value_form form, std::string_view name,
                                       std::string_view text)
{
    masked_value out;
    while (!text.empty()) {
        const char sign = text.front();
        const std::size_t end = std::min(text.find_first_of("+-", 1), text.size());
        const std::string_view word = text.substr(1, end - 1);
        if (sign != '+' && sign != '-') {
            return flow_fault{text, "a flag of " + std::string{name} +
                                        " must have + before it, or - if it must not be set"};
        }
        const auto flag = flag_of(form, name, word);
        if (flag.has_error()) {
            return flag.error();
        }
        if ((out.mask.low & *flag) != 0) {
            return flow_fault{word, shown(word) + " is there twice; each flag may be once"};
        }
        out.mask.low |= *flag;
        out.value.low |= sign == '+' ? *flag : 0;
        text.remove_prefix(end);
    }
    return out;
}

// flag|flag
flow_result<masked_value> parse_exact(value_form form, unsigned bits, std::string_view name,
                                      std::string_view text)
{
    masked_value out{{}, wide::ones(bits)};
    for (;;) {
        const std::size_t end = std::min(text.find('|'), text.size());
        const auto flag = flag_of(form, name, text.substr(0, end));
        if (flag.has_error()) {
            return flag.error();
        }
        out.value.low |= *flag;
        if (end == text.size()) {
            return out;
        }
        text.remove_prefix(end + 1);
    }
}

struct fragment_kind {
    std::string_view word;
    std::uint8_t value;
    std::uint8_t mask;
};
constexpr std::uint8_t both = flow::frag_any | flow::frag_later;
constexpr std::array<fragment_kind, 6> fragment_kinds{{
    {"no", 0, both},
    {"yes", flow::frag_any, flow::frag_any},
    {"first", flow::frag_any, both},
    {"later", flow::frag_later, flow::frag_later},
    {"later", both, both}, // which is the same
    {"not_later", 0, flow::frag_later},
}};

} // namespace

flow_result<masked_value> parse_flags(value_form form, unsigned bits, std::string_view name,
                                      std::string_view text)
{
    const auto words = words_of(form);
    const std::size_t slash = text.find('/');
    if (const auto number = parse_integer(text.substr(0, slash))) {
        masked_value out{*number, wide::ones(bits)};
        if (slash != std::string_view::npos) {
            const auto mask = parse_integer(text.substr(slash + 1));
            if (!mask) {
                return flow_fault{text, shown(text) + " is no value of " + std::string{name} +
                                            "; a mask must be a number"};
            }
            out.mask = *mask;
        }
        const auto known = static_cast<unsigned>(words.size());
        if (exceeds(out.value, known) ||
            (exceeds(out.mask, known) && out.mask != wide::ones(bits))) {
            return no_flag(name, text, words);
        }
        out.value = out.value & out.mask;
        return out;
    }
    return text.front() == '+' || text.front() == '-' ? parse_signed(form, name, text)
                                                      : parse_exact(form, bits, name, text);
}

void append_flags(std::string& out, value_form form, unsigned bits, const masked_value& value)
{
    const auto words = words_of(form);
    // A tunnel's only flag is the same with a sign.
    if (value.mask == wide::ones(bits) && form != value_form::tunnel_flags) {
        if (value.value.is_zero()) {
            out += '0';
            return;
        }
        const char* between = "";
        for (std::size_t i = 0; i < words.size(); ++i) {
            if ((value.value.low >> i & 1) != 0) {
                out += between;
                out += words[i];
                between = "|";
            }
        }
        return;
    }
    for (std::size_t i = 0; i < words.size(); ++i) {
        if ((value.mask.low >> i & 1) != 0) {
            out += (value.value.low >> i & 1) != 0 ? '+' : '-';
            out += words[i];
        }
    }
}

flow_result<masked_value> parse_fragment(std::string_view text)
{
    const auto found = std::ranges::find(fragment_kinds, text, &fragment_kind::word);
    if (found == fragment_kinds.end()) {
        return flow_fault{text, shown(text) + " is no kind of fragment; it must be no, yes, first, "
                                              "later or not_later"};
    }
    return masked_value{wide{found->value}, wide{found->mask}};
}

void append_fragment(std::string& out, const masked_value& value)
{
    const auto found = std::ranges::find_if(fragment_kinds, [&value](const fragment_kind& k) {
        return k.value == value.value.low && k.mask == value.mask.low;
    });
    out += found == fragment_kinds.end() ? "no" : found->word;
}

} // namespace strait::control
