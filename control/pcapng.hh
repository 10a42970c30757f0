// SPDX-License-Identifier: BSD-3-Clause
// Packets as pcapng, the format of draft-ietf-opsawg-pcapng: blocks that are appended to a text.
// Nothing is read or written here, and no packet is looked into.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace strait::control::pcapng {

enum class direction : std::uint8_t { unknown = 0, inbound = 1, outbound = 2 };

// Times are nanoseconds since 1970.
struct packet {
    std::uint32_t interface {
        0
    }; // in the order in which they were described
    std::uint64_t time{0};
    std::span<const std::byte> bytes;
    std::uint32_t length{0}; // of the packet, of which `bytes` may be the beginning
    pcapng::direction way{direction::unknown};
    std::string_view comment{};
};

struct statistics {
    std::uint32_t interface {
        0
    };
    std::uint64_t begin{0};
    std::uint64_t end{0};
    std::uint64_t received{0};
    std::uint64_t dropped{0};
};

// What a file begins with.
void append_section(std::string& to, std::string_view program);
void append_interface(std::string& to, std::string_view name, std::uint32_t snaplen);
void append_packet(std::string& to, const packet& p);
void append_statistics(std::string& to, const statistics& s);

} // namespace strait::control::pcapng
