// SPDX-License-Identifier: BSD-3-Clause
// Meters as text, in ovs-ofctl's syntax: meter=1,kbps,burst,stats,bands=type=drop,rate=1000.
#pragma once

#include "control/flow_text.hh"
#include "dataplane/flow/meter.hh"
#include "ports/error.hh"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace strait::control {

enum class meter_command : std::uint8_t { add, modify, remove };

struct meter_change {
    meter_command command{meter_command::add};
    bool every{false};          // of `remove`: all meters
    flow::meter_settings meter; // of `remove` the id alone
};

// As parse_group() and read_groups(); lines have no command's word.
[[nodiscard]] ports::result<meter_change> parse_meter(std::string_view text, meter_command command);
[[nodiscard]] ports::result<void>
read_meters(const flow_lines& lines, meter_command command,
            const std::function<ports::result<void>(meter_change&&)>& take);

// What parse_meter(..., add) reads as the same meter.
[[nodiscard]] std::string format_meter(const flow::meter_settings& m);

} // namespace strait::control
