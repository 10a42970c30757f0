// SPDX-License-Identifier: BSD-3-Clause
#include "control/stp/text.hh"

namespace strait::stp {

std::string to_text(bridge_id id)
{
    return std::to_string(id.priority()) + '.' + id.address().to_string();
}

std::string_view to_text(role r) noexcept
{
    switch (r) {
    case role::disabled:
        return "disabled";
    case role::root:
        return "root";
    case role::designated:
        return "designated";
    case role::alternate:
        return "alternate";
    case role::backup:
        break;
    }
    return "backup";
}

std::string_view to_text(state s) noexcept
{
    return s == state::forwarding ? "forwarding" : s == state::learning ? "learning" : "discarding";
}

std::string_view to_text(point_to_point p) noexcept
{
    return p == point_to_point::found ? "auto" : p == point_to_point::yes ? "on" : "off";
}

} // namespace strait::stp
