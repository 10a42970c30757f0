// SPDX-License-Identifier: BSD-3-Clause
// Most packets of a burst have the outer headers of the one before, but for lengths, checksum, ECN
// and UDP's source port. Templates put these in front and take them off without describing or
// reading each packet's anew. What differs in any other way is not touched: carrier.hh's whole way
// sees it, and makes the next template. Of VXLAN and of Geneve without options, over IPv4 without a
// tag and without a checksum of UDP. One worker's, for the packets of one list.
#pragma once

#include "dataplane/packet.hh"
#include "dataplane/tunnel/headers.hh"
#include "dataplane/tunnel/notes.hh"

#include <array>
#include <cstddef>
#include <cstdint>

namespace strait::tunnel {

class transmit_template {
public:
    // Of a packet that has just got its outer headers, of `d`, and Ethernet's in front of them, for
    // a tunnel whose DSCP and hop limit are its own; it goes on from `out`. Inner frames are alike
    // if they have no more than `longest` bytes. Nothing becomes of headers that templates are not
    // for.
    void set(const dataplane::packet& p, const description& d, std::size_t longest,
             dataplane::port_index out) noexcept;
    // Puts them in front of an inner frame. False: it is not alike.
    [[nodiscard]] bool push(dataplane::packet_slot& p) const noexcept;
    [[nodiscard]] dataplane::port_index out() const noexcept { return out_; }

private:
    static constexpr std::size_t size = 50;

    std::array<std::byte, size> headers_;
    std::size_t longest_{0};
    dataplane::port_index out_{dataplane::no_port};
};

class receive_template {
public:
    // Of a packet with its outer headers, Ethernet's first, which were read as `ip` and `c`, and
    // found to be of the tunnel port `from`; `words` are what flows see of it.
    void set(const dataplane::packet& p, const outer_ip& ip, const contents& c,
             dataplane::port_index from, const notes::words& words) noexcept;
    // Takes them off a packet. False: it is not alike.
    [[nodiscard]] bool pop(dataplane::packet_slot& p) const noexcept;
    [[nodiscard]] dataplane::port_index from() const noexcept { return from_; }
    [[nodiscard]] const notes::words& words() const noexcept { return words_; }

private:
    // Of the first 48 bytes what is the same of all, by eight; and the last two.
    std::array<std::uint64_t, 6> front_;
    std::uint16_t back_{0};
    dataplane::port_index from_{dataplane::no_port};
    notes::words words_;
};

} // namespace strait::tunnel
