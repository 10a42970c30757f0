// SPDX-License-Identifier: BSD-3-Clause
// Ports as words and back.
#include "control/flow_ports.hh"

#include "control/flow_values.hh"

#include <algorithm>
#include <array>
#include <utility>

namespace strait::control {

namespace {

struct reserved_word {
    std::string_view word;
    flow::port_number port;
};
constexpr std::array<reserved_word, 9> reserved_words{{
    {"IN_PORT", flow::ports::in_port},
    {"TABLE", flow::ports::table},
    {"NORMAL", flow::ports::normal},
    {"FLOOD", flow::ports::flood},
    {"ALL", flow::ports::all},
    {"CONTROLLER", flow::ports::controller},
    {"LOCAL", flow::ports::local},
    {"ANY", flow::ports::none},
    {"NONE", flow::ports::none},
}};

char upper(char c)
{
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

bool is_letter(char c)
{
    return upper(c) >= 'A' && upper(c) <= 'Z';
}

// Whether a name can stand in a flow as it is.
bool is_plain(std::string_view name)
{
    return !name.empty() && (is_letter(name.front()) || name.front() == '_') &&
           !reserved_port(name) && std::ranges::all_of(name, [](char c) {
               return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
           });
}

std::string unquoted(std::string_view word)
{
    std::string out;
    for (std::size_t i = 1; i + 1 < word.size(); ++i) {
        if (word[i] == '\\' && i + 2 < word.size()) {
            ++i;
        }
        out += word[i];
    }
    return out;
}

} // namespace

void port_names::add(flow::port_number number, std::string name)
{
    numbers_.insert_or_assign(name, number);
    names_.insert_or_assign(number, std::move(name));
}

std::optional<flow::port_number> port_names::number_of(std::string_view name) const
{
    const auto found = numbers_.find(name);
    return found == numbers_.end() ? std::nullopt : std::optional{found->second};
}

const std::string* port_names::name_of(flow::port_number number) const
{
    const auto found = names_.find(number);
    return found == names_.end() ? nullptr : &found->second;
}

port_names port_names::without_ports() const
{
    port_names out;
    out.options_ = options_;
    return out;
}

std::vector<std::string> port_names::names() const
{
    std::vector<std::string> out;
    for (const auto& [name, number] : numbers_) {
        out.push_back(name);
    }
    return out;
}

std::optional<flow::port_number> reserved_port(std::string_view word)
{
    for (const auto& r : reserved_words) {
        if (std::ranges::equal(word, r.word, {}, upper)) {
            return r.port;
        }
    }
    return std::nullopt;
}

flow_result<flow::port_number> parse_port(std::string_view word, const port_names& names)
{
    if (const auto reserved = reserved_port(word)) {
        return *reserved;
    }
    if (const auto number = parse_integer(word)) {
        constexpr std::uint64_t first_reserved = flow::ports::in_port;
        if (number->high == 0 && (number->low <= last_port_number ||
                                  (number->low >= first_reserved && number->low <= 0xffff))) {
            return static_cast<flow::port_number>(number->low);
        }
        return flow_fault{word, shown(word) + " is no port's number; these are 0 to " +
                                    std::to_string(last_port_number)};
    }
    const bool quoted = word.size() >= 2 && word.front() == '"' && word.back() == '"';
    const std::string name = quoted ? unquoted(word) : std::string{word};
    if (const auto number = names.number_of(name)) {
        return *number;
    }
    if (name.empty()) {
        return flow_fault{word, "a port is missing here: a number, a name or LOCAL"};
    }
    return flow_fault{
        word, "there is no port " + shown(name) +
                  suggestion(name, names.names(), "; it must be a number, a port's name or LOCAL")};
}

void append_port(std::string& out, flow::port_number port, const port_names* names)
{
    if (const std::string* name = names != nullptr ? names->name_of(port) : nullptr) {
        if (is_plain(*name)) {
            out += *name;
            return;
        }
        out += '"';
        for (const char c : *name) {
            out += c == '"' || c == '\\' ? std::string{'\\', c} : std::string{c};
        }
        out += '"';
        return;
    }
    for (const auto& r : reserved_words) {
        if (r.port == port) {
            out += r.word;
            return;
        }
    }
    out += std::to_string(port);
}

} // namespace strait::control
