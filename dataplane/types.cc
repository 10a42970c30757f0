// SPDX-License-Identifier: BSD-3-Clause
// Text forms of the shared types.
#include "dataplane/types.hh"

#include <charconv>
#include <cstdio>

namespace strait::dataplane {

std::optional<mac_address> mac_address::parse(std::string_view text)
{
    constexpr std::size_t text_length = 17;
    if (text.size() != text_length) {
        return std::nullopt;
    }
    const char separator = text[2];
    if (separator != ':' && separator != '-') {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    for (unsigned i = 0; i < 6; ++i) {
        const std::string_view octet = text.substr(std::size_t{i} * 3, 2);
        std::uint8_t byte = 0;
        const auto [end, error] = std::from_chars(octet.data(), octet.data() + 2, byte, 16);
        if (error != std::errc{} || end != octet.data() + 2) {
            return std::nullopt;
        }
        if (i < 5 && text[std::size_t{i} * 3 + 2] != separator) {
            return std::nullopt;
        }
        value |= std::uint64_t{byte} << (8 * i);
    }
    return mac_address{value};
}

std::string mac_address::to_string() const
{
    const auto b = bytes();
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3],
                  b[4], b[5]);
    return text.data();
}

} // namespace strait::dataplane
