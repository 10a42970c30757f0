// SPDX-License-Identifier: BSD-3-Clause
// Strait's version, from the build.
#pragma once

#include <string_view>

namespace strait::control {

[[nodiscard]] std::string_view version() noexcept;

} // namespace strait::control
