// SPDX-License-Identifier: BSD-3-Clause
#include "control/print_events.hh"

#include "control/print_parts.hh"

#include <algorithm>
#include <array>
#include <string_view>

namespace strait::control {

namespace {

constexpr std::array<std::string_view, 5> columns{"sequence", "time", "event", "bridge", "port"};

// 2026-11-28T09:30:00.123456Z mac_moved br0 vm2 mac 52:54:00:00:00:01, vlan 0, from vm1
std::string event_line(const boost::json::object& e)
{
    std::string line;
    for (const auto column : columns) {
        const auto& value = member(e, column);
        if (column != "sequence") {
            line += (line.empty() ? "" : " ") + (value.is_null() ? "-" : plain(value));
        }
    }
    std::string_view separator = " ";
    for (const auto& [name, value] : e) {
        if (std::ranges::find(columns, std::string_view{name}) == columns.end()) {
            line +=
                std::string{separator} + std::string{std::string_view{name}} + ' ' + plain(value);
            separator = ", ";
        }
    }
    return line + '\n';
}

} // namespace

std::string events_text(const boost::json::object& result)
{
    std::string out;
    if (const std::uint64_t missed = as_count(member(result, "missed")); missed > 0) {
        out += grouped(missed) + (missed == 1 ? " event" : " events") +
               " before these came and went unseen\n";
    }
    for (const auto& e : as_array(member(result, "events"))) {
        out += event_line(as_object(e));
    }
    return out;
}

} // namespace strait::control
