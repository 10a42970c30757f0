// SPDX-License-Identifier: BSD-3-Clause
// The tables of a bridge that operators' flows do not see: what rule sets and the like become.
// Those of stages that stand in a row packets go through before table 0, if they come from ports
// that have any; those of the last stage meet what is about to leave by such a port. Numbers alone:
// rules are made in control, the way through is translate.hh's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace strait::flow {

using table_id = std::uint16_t; // 0 to 254 of operators', 256 to 287 hidden
inline constexpr table_id all_tables = 255;
inline constexpr table_id first_hidden = 256;

enum class stage : std::uint8_t {
    binding,     // whether a port may send what says that it comes from there
    acl_from,    // rule sets, of what a port sends
    suppression, // answers in another's place
    acl_to,      // rule sets, of what a port is sent
};
inline constexpr std::size_t stage_count = 4;
inline constexpr std::size_t tables_per_stage = 8;
inline constexpr std::size_t table_count = first_hidden + stage_count * tables_per_stage;

[[nodiscard]] constexpr bool is_hidden(table_id id) noexcept
{
    return id >= first_hidden;
}
[[nodiscard]] constexpr table_id first_table(stage s) noexcept
{
    return static_cast<table_id>(first_hidden + static_cast<std::size_t>(s) * tables_per_stage);
}
[[nodiscard]] constexpr stage stage_of(table_id hidden) noexcept
{
    return static_cast<stage>((hidden - first_hidden) / tables_per_stage);
}
// Where a packet goes on that a stage before table 0 lets through.
[[nodiscard]] constexpr table_id behind(stage s) noexcept
{
    return s == stage::suppression ? table_id{0}
                                   : static_cast<table_id>(first_table(s) + tables_per_stage);
}
// Where packets begin that have to go through the row.
inline constexpr table_id first_of_row = first_table(stage::binding);

} // namespace strait::flow
