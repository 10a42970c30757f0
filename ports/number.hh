// SPDX-License-Identifier: BSD-3-Clause
// Numbers in what people, programs and stores write.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace strait {

// All of `text` as a number: no sign before one that has none, no space, nothing behind it. Nothing
// if it is not one, or one that T cannot hold. Any thread.
template <typename T>
[[nodiscard]] std::optional<T> to_number(std::string_view text, int base = 10) noexcept
{
    T n{};
    const char* const end = text.data() + text.size();
    std::from_chars_result read{};
    if constexpr (std::is_floating_point_v<T>) {
        read = std::from_chars(text.data(), end, n);
    } else {
        read = std::from_chars(text.data(), end, n, base);
    }
    return read.ec == std::errc{} && read.ptr == end ? std::optional{n} : std::nullopt;
}

} // namespace strait
