// SPDX-License-Identifier: BSD-3-Clause
// Whether text is UTF-8, which JSON must be: paths, and what the kernel and guests say, need not.
#pragma once

#include <string>
#include <string_view>

namespace strait::control {

[[nodiscard]] bool is_utf8(std::string_view text) noexcept;
// The text with '?' for each byte that belongs to no character.
[[nodiscard]] std::string as_utf8(std::string_view text);

} // namespace strait::control
