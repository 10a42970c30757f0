// SPDX-License-Identifier: BSD-3-Clause
// MTUs that a guest's port can have.
#pragma once

#include "dataplane/types.hh"
#include "ports/error.hh"

#include <cstdint>
#include <string>

namespace strait::ports {

// `whose` is what the sentence begins with: "a Xen port". Any thread.
[[nodiscard]] inline result<void> check_mtu(const std::string& whose, std::uint32_t mtu)
{
    if (mtu < dataplane::min_mtu || mtu > dataplane::max_mtu) {
        return error{whose + " has an MTU of " + std::to_string(dataplane::min_mtu) + " to " +
                     std::to_string(dataplane::max_mtu) + " bytes, not " + std::to_string(mtu)};
    }
    return {};
}

} // namespace strait::ports
