// SPDX-License-Identifier: BSD-3-Clause
// A reader of pcapng for tests: blocks and their options as they stand, with every length checked.
// That others read it the same is for the system tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control::testing_support {

struct pcapng_block {
    std::uint32_t kind;
    std::string body;                             // without the options
    std::map<std::uint16_t, std::string> options; // by code
    [[nodiscard]] std::uint32_t word(std::size_t at) const
    {
        std::uint32_t n = 0;
        std::memcpy(&n, body.data() + 4 * at, sizeof n);
        return n;
    }
};

template <typename Number>
Number number_at(std::string_view data, std::size_t at)
{
    if (at + sizeof(Number) > data.size()) {
        throw std::runtime_error{"a block is cut short"};
    }
    Number n{};
    std::memcpy(&n, data.data() + at, sizeof n);
    return n;
}

inline std::size_t padded(std::size_t size)
{
    return (size + 3) / 4 * 4;
}

// Throws std::runtime_error if `data` is not whole blocks.
inline std::vector<pcapng_block> read_pcapng(std::string_view data)
{
    constexpr std::uint32_t section = 0x0a0d0d0a;
    constexpr std::uint32_t enhanced_packet = 6;
    std::vector<pcapng_block> out;
    while (!data.empty()) {
        pcapng_block b{number_at<std::uint32_t>(data, 0), {}, {}};
        const auto length = number_at<std::uint32_t>(data, 4);
        if (length < 12 || length % 4 != 0 || length > data.size() ||
            number_at<std::uint32_t>(data, length - 4) != length) {
            throw std::runtime_error{"a block's lengths are wrong"};
        }
        const std::string_view all = data.substr(8, length - 12);
        data.remove_prefix(length);
        std::size_t fixed = 0;
        if (b.kind == section) {
            fixed = 16;
        } else if (b.kind == enhanced_packet) {
            fixed = 20 + padded(number_at<std::uint32_t>(all, 12));
        } else if (b.kind == 1) {
            fixed = 8;
        } else if (b.kind == 5) {
            fixed = 12;
        }
        b.body = all.substr(0, fixed);
        for (std::size_t at = fixed; at < all.size();) {
            const auto code = number_at<std::uint16_t>(all, at);
            const auto size = number_at<std::uint16_t>(all, at + 2);
            if (code == 0) {
                if (at + 4 != all.size()) {
                    throw std::runtime_error{"there is something behind the options"};
                }
                break;
            }
            b.options[code] = all.substr(at + 4, size);
            at += 4 + padded(size);
        }
        out.push_back(std::move(b));
    }
    return out;
}

} // namespace strait::control::testing_support
