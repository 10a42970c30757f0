// SPDX-License-Identifier: BSD-3-Clause
// Values that are made of words: flags, like +syn-ack or new|trk, and kinds of fragments.
#pragma once

#include "control/flow_values.hh"

#include <string>
#include <string_view>

namespace strait::control {

// +flag for one that must be set, -flag for one that must not be; flag|flag for just these; or
// numbers, value or value/mask. Each flag once, and none that there is not.
[[nodiscard]] flow_result<masked_value> parse_flags(value_form form, unsigned bits,
                                                    std::string_view name, std::string_view text);
void append_flags(std::string& out, value_form form, unsigned bits, const masked_value& value);

// no, yes, first, later, not_later.
[[nodiscard]] flow_result<masked_value> parse_fragment(std::string_view text);
void append_fragment(std::string& out, const masked_value& value);

} // namespace strait::control
