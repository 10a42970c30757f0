// SPDX-License-Identifier: BSD-3-Clause
// Reading and writing translations of addresses.
#include "control/flow_nat_text.hh"

#include "control/flow_values.hh"

#include <algorithm>
#include <optional>

namespace strait::control {

using flow::nat;
using flow::wide;

namespace {

constexpr std::string_view right =
    "; it must be like 10.0.0.1, 10.0.0.1-10.0.0.9, 10.0.0.1:80 or [fe80::1]-[fe80::9]:80-90";

bool is_before(wide a, wide b)
{
    return a.high != b.high ? a.high < b.high : a.low < b.low;
}

struct address {
    wide value;
    bool ipv6;
};

// An address off the front of `text`: [fe80::1], fe80::1 up to one of `enders`, or 10.0.0.1.
std::optional<address> take_address(std::string_view& text)
{
    if (text.starts_with('[')) {
        const std::size_t end = text.find(']');
        if (end == std::string_view::npos) {
            return std::nullopt;
        }
        const auto value = parse_ipv6_address(text.substr(1, end - 1));
        text.remove_prefix(end + 1);
        return value ? std::optional{address{*value, true}} : std::nullopt;
    }
    const std::size_t dash = std::min(text.find('-'), text.size());
    // IPv4's have no colon but that of their ports.
    const std::size_t colon = std::min(text.find(':'), text.size());
    if (const auto value = parse_ipv4_address(text.substr(0, std::min(dash, colon)))) {
        text.remove_prefix(std::min(dash, colon));
        return address{wide{*value}, false};
    }
    const auto value = parse_ipv6_address(text.substr(0, dash));
    if (!value) {
        return std::nullopt;
    }
    text.remove_prefix(dash);
    return address{*value, true};
}

std::optional<std::uint16_t> take_port(std::string_view& text)
{
    const std::size_t end = std::min(text.find('-'), text.size());
    const auto number = parse_integer(text.substr(0, end));
    text.remove_prefix(end);
    if (!number || number->high != 0 || number->low > 0xffff) {
        return std::nullopt;
    }
    return static_cast<std::uint16_t>(number->low);
}

// addresses[:ports]
flow_result<void> parse_range(std::string_view text, nat& out)
{
    const std::string_view whole = text;
    const flow_fault wrong{whole, shown(whole) + " is no range of addresses" + std::string{right}};
    const auto first = take_address(text);
    auto last = first;
    if (first && text.starts_with('-')) {
        text.remove_prefix(1);
        last = take_address(text);
    }
    if (!first || !last || first->ipv6 != last->ipv6) {
        return wrong;
    }
    if (is_before(last->value, first->value)) {
        return flow_fault{whole, shown(whole) + " ends before it begins" + std::string{right}};
    }
    out.first = first->value;
    out.last = last->value;
    out.ipv6 = first->ipv6;
    if (text.empty()) {
        return {};
    }
    if (text.front() != ':') {
        return wrong;
    }
    text.remove_prefix(1);
    const auto first_port = take_port(text);
    auto last_port = first_port;
    if (first_port && text.starts_with('-')) {
        text.remove_prefix(1);
        last_port = take_port(text);
    }
    if (!first_port || !last_port || !text.empty() || *last_port < *first_port) {
        return wrong;
    }
    if (*first_port == 0 || last->value.is_zero()) {
        return flow_fault{whole, "ports are counted from 1, and stand behind an address" +
                                     std::string{right}};
    }
    out.first_port = *first_port;
    out.last_port = *last_port;
    return {};
}

flow_result<void> take_argument(const flow_word& word, nat& out)
{
    if (word.key == "src" || word.key == "dst") {
        if (out.which != nat::side::restore) {
            return flow_fault{word.all, "nat takes src or dst, once"};
        }
        out.which = word.key == "src" ? nat::side::source : nat::side::destination;
        return word.value.empty() ? flow_result<void>{} : parse_range(word.value, out);
    }
    if (word.key == "random" || word.key == "hash" || word.key == "persistent") {
        (word.key == "random" ? out.random : word.key == "hash" ? out.hash : out.persistent) = true;
        return word.mark == 0 ? flow_result<void>{}
                              : flow_fault{word.all, std::string{word.key} + " takes no value"};
    }
    return flow_fault{word.key,
                      "nat has no " + shown(word.key) +
                          suggestion(word.key, {"src", "dst", "random", "hash", "persistent"},
                                     "; it has src, dst, random, hash and persistent")};
}

void append_address(std::string& out, const nat& n, wide value)
{
    if (!n.ipv6) {
        append_ipv4_address(out, static_cast<std::uint32_t>(value.low));
        return;
    }
    const bool bracket = n.first_port != 0;
    out += bracket ? "[" : "";
    append_ipv6_address(out, value);
    out += bracket ? "]" : "";
}

} // namespace

flow_result<nat> parse_nat(const flow_word& word)
{
    nat out;
    flow_words arguments{word.value};
    for (;;) {
        const auto argument = arguments.next();
        if (argument.has_error()) {
            return argument.error();
        }
        if (!*argument) {
            break;
        }
        if (const auto done = take_argument(**argument, out); done.has_error()) {
            return done.error();
        }
    }
    if (out.which == nat::side::restore && (out.random || out.hash || out.persistent)) {
        return flow_fault{word.all, "random, hash and persistent are for nat with src or dst"};
    }
    if (out.random && out.hash) {
        return flow_fault{word.all, "a port is chosen at random or by a hash, not by both"};
    }
    if (out.last.is_zero()) {
        out.ipv6 = false; // 0.0.0.0 and :: are no address
    }
    return out;
}

void append_nat(std::string& out, const nat& n)
{
    out += "nat";
    if (n.which == nat::side::restore) {
        return;
    }
    out += n.which == nat::side::source ? "(src" : "(dst";
    if (!n.last.is_zero()) {
        out += '=';
        append_address(out, n, n.first);
        if (!(n.first == n.last)) {
            out += '-';
            append_address(out, n, n.last);
        }
        if (n.first_port != 0) {
            out += ':';
            append_decimal(out, n.first_port);
            if (n.last_port != n.first_port) {
                out += '-';
                append_decimal(out, n.last_port);
            }
        }
    }
    out += n.persistent ? ",persistent" : "";
    out += n.hash ? ",hash" : "";
    out += n.random ? ",random" : "";
    out += ')';
}

} // namespace strait::control
