// SPDX-License-Identifier: BSD-3-Clause
// What a control connection of FTP, or a request of TFTP, says of the connection that is to come.
// Text in, numbers out; it knows no packet. What becomes of it is expectations.hh's business.
#pragma once

#include "dataplane/flow/key.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace strait::conntrack {

struct announcement {
    // Where its sender waits for the other side. Nothing: at its own address.
    std::optional<flow::wide> address{};
    std::uint16_t port{0};
    // How it is written, and where in the text.
    enum class form : std::uint8_t {
        commas,   // 10,0,0,1,4,1: PORT and 227, of IPv4
        extended, // |1|10.0.0.1|1025|: EPRT
        port,     // |||1025|: 229
    };
    form written{};
    std::size_t begin{0};
    std::size_t size{0};
};

// The same with another address and port: how long the text is, which takes the place of the old.
using announcement_text = std::array<char, 54>;
[[nodiscard]] std::size_t write_ftp(announcement::form form, const flow::wide& address,
                                    std::uint16_t port, bool ipv6, announcement_text& to) noexcept;

// A segment that begins with a line: PORT or EPRT of a client, 227 or 229 of a server. Nothing: it
// says something else, or its line is not whole.
[[nodiscard]] std::optional<announcement> read_ftp(std::string_view text, bool from_server,
                                                   bool ipv6) noexcept;

// Whether a datagram asks for a file, to be sent or to be taken, from a port to be chosen.
[[nodiscard]] bool is_tftp_request(std::string_view datagram) noexcept;

} // namespace strait::conntrack
