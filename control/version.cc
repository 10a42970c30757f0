// SPDX-License-Identifier: BSD-3-Clause
// The one file that is compiled anew when the version changes.
#include "control/version.hh"

namespace strait::control {

std::string_view version() noexcept
{
    return STRAIT_VERSION;
}

} // namespace strait::control
