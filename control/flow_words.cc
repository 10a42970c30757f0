// SPDX-License-Identifier: BSD-3-Clause
// Cutting a flow's text into words.
#include "control/flow_words.hh"

#include "control/method_table.hh"

#include <algorithm>
#include <functional>
#include <stdexcept>

namespace strait::control {

namespace {

constexpr std::string_view between_words = ", \t\r\n";
constexpr std::string_view blanks = " \t\r\n";

bool ends_word(char c)
{
    return between_words.find(c) != std::string_view::npos;
}

// Where the quotation that begins at `at` ends, behind its last character; npos: it does not.
std::size_t end_of_quotation(std::string_view text, std::size_t at)
{
    for (std::size_t i = at + 1; i < text.size(); ++i) {
        if (text[i] == '\\') {
            ++i;
        } else if (text[i] == '"') {
            return i + 1;
        }
    }
    return std::string_view::npos;
}

// How many characters there are until one of `enders` outside of parentheses and quotations, or to
// the end.
flow_result<std::size_t> length_until(std::string_view text, std::string_view enders)
{
    std::vector<std::size_t> open;
    std::size_t i = 0;
    while (i < text.size()) {
        const char c = text[i];
        if (open.empty() && enders.find(c) != std::string_view::npos) {
            break;
        }
        if (c == '"') {
            const std::size_t end = end_of_quotation(text, i);
            if (end == std::string_view::npos) {
                return flow_fault{text.substr(i), "the quotation that begins here has no end"};
            }
            i = end;
            continue;
        }
        if (c == '(') {
            open.push_back(i);
        } else if (c == ')' && !open.empty()) {
            open.pop_back();
        }
        ++i;
    }
    if (!open.empty()) {
        return flow_fault{text.substr(open.back()),
                          "the parenthesis that opens here is not closed"};
    }
    return i;
}

} // namespace

void throw_exception_from_error(const flow_fault& f, const boost::source_location& /*where*/)
{
    throw std::runtime_error{f.message};
}

flow_result<std::optional<flow_word>> flow_words::next()
{
    const std::size_t first = rest_.find_first_not_of(between_words);
    if (first == std::string_view::npos) {
        rest_ = {};
        return std::optional<flow_word>{};
    }
    rest_.remove_prefix(first);
    const std::string_view begin = rest_;

    flow_word word;
    const auto key = length_until(rest_, ":=(, \t\r\n");
    if (key.has_error()) {
        return key.error();
    }
    word.key = rest_.substr(0, *key);
    rest_.remove_prefix(*key);
    word.value = rest_.substr(0, 0);
    word.target = word.value;
    if (!rest_.empty() && !ends_word(rest_.front())) {
        word.mark = rest_.front();
        const std::string_view opening = rest_;
        rest_.remove_prefix(1);
        const auto value = length_until(rest_, word.mark == '(' ? ")" : between_words);
        if (value.has_error()) {
            return value.error();
        }
        word.value = rest_.substr(0, *value);
        rest_.remove_prefix(*value);
        if (word.mark == '(') {
            if (rest_.empty()) {
                return flow_fault{opening, "the parenthesis that opens here is not closed"};
            }
            rest_.remove_prefix(1);
            if (rest_.starts_with("->")) {
                const std::size_t end = std::min(rest_.find_first_of(between_words), rest_.size());
                word.target = rest_.substr(2, end - 2);
                rest_.remove_prefix(end);
            } else if (!rest_.empty() && !ends_word(rest_.front())) {
                return flow_fault{rest_,
                                  "there must be a comma or a blank before " +
                                      shown(rest_.substr(0, rest_.find_first_of(between_words)))};
            }
        }
    }
    word.all = begin.substr(0, begin.size() - rest_.size());
    return std::optional{word};
}

std::size_t column_of(std::string_view text, const flow_fault& f)
{
    const bool inside = std::greater_equal{}(f.at.data(), text.data()) &&
                        std::less_equal{}(f.at.data(), text.data() + text.size());
    return inside ? static_cast<std::size_t>(f.at.data() - text.data()) + 1 : 1;
}

std::string at_column(std::string_view text, const flow_fault& f)
{
    return "column " + std::to_string(column_of(text, f)) + ": " + f.message;
}

std::string shown(std::string_view word)
{
    constexpr std::size_t longest = 60;
    std::string out = "\"";
    for (const char c : word.substr(0, longest)) {
        const auto byte = static_cast<unsigned char>(c);
        out += byte < 0x20 || byte > 0x7e ? '?' : c;
    }
    return out + (word.size() > longest ? "...\"" : "\"");
}

std::string suggestion(std::string_view word, const std::vector<std::string>& names,
                       std::string_view otherwise)
{
    const auto near = nearest(word, names);
    return near ? "; did you mean " + *near + "?" : std::string{otherwise};
}

std::string_view trimmed(std::string_view text) noexcept
{
    const std::size_t first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) {
        return text.substr(0, 0);
    }
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

} // namespace strait::control
