// SPDX-License-Identifier: BSD-3-Clause
// The part of the configuration that is lines: a bridge's meters, groups and flows, each with a key
// of its own in the store, so that one flow among a million is one short record.
#pragma once

#include "control/bridge_flows.hh"
#include "control/store.hh"

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

enum class line_kind : std::uint8_t { meters, groups, flows };
inline constexpr std::array<line_kind, 3> line_kinds{line_kind::meters, line_kind::groups,
                                                     line_kind::flows}; // in order of making

[[nodiscard]] std::string_view name_of(line_kind kind) noexcept; // "flows"
// What keys of a bridge's begin with: "flows br0 ".
[[nodiscard]] std::string line_prefix(line_kind kind, std::string_view bridge);

// Puts and erasures that bring the store to where the bridge will be.
void put_changes(store_changes& to, const std::string& bridge, const changed_flows& what);
// All that the bridge has, in place of what the store has of it.
void put_all(store_changes& to, const std::string& bridge, const bridge_flows& flows);
void erase_all(store_changes& to, const std::string& bridge);

// All of a kind in a stable order: flows by table and priority, others by number.
[[nodiscard]] std::vector<std::string> list_lines(line_kind kind, const bridge_flows& flows);

// A line that is to be there, by its key in the store or none.
struct config_line {
    std::string key;
    std::string text;
};
// Beside those that are there.
[[nodiscard]] outcome<void> add_config_line(bridge_flows& flows, line_kind kind,
                                            const std::string& text);
// Calls `failed` for each that cannot be there; the others are, in place of all there was.
void restore_lines(
    bridge_flows& flows, const std::array<std::vector<config_line>, 3>& lines,
    const std::function<void(line_kind, const config_line&, const failure&)>& failed);

} // namespace strait::control
