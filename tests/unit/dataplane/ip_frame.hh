// SPDX-License-Identifier: BSD-3-Clause
// Frames of TCP and UDP over IPv4 and IPv6 for tests of offloads, and what a receiver makes of
// them: a parser and a checksum that share nothing with the switch's.
#pragma once

#include "tests/unit/dataplane/eal.hh"

#include <cstdint>
#include <optional>
#include <vector>

namespace strait::test {

inline void put16(frame& f, std::size_t at, unsigned value)
{
    f.at(at) = static_cast<std::uint8_t>(value >> 8);
    f.at(at + 1) = static_cast<std::uint8_t>(value);
}
inline void put32(frame& f, std::size_t at, std::uint32_t value)
{
    put16(f, at, value >> 16);
    put16(f, at + 2, value & 0xffff);
}
inline unsigned get16(const frame& f, std::size_t at)
{
    return (unsigned{f.at(at)} << 8) | f.at(at + 1);
}
inline std::uint32_t get32(const frame& f, std::size_t at)
{
    return (std::uint32_t{get16(f, at)} << 16) | get16(f, at + 2);
}

// RFC 1071 as a beginner would write it; not complemented.
inline unsigned plain_sum(const frame& bytes, std::size_t from, std::size_t to)
{
    std::uint32_t sum = 0;
    for (std::size_t i = from; i < to; i += 2) {
        sum += unsigned{bytes.at(i)} << 8;
        if (i + 1 < to) {
            sum += bytes.at(i + 1);
        }
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

struct ip_frame {
    std::vector<std::uint16_t> tags{}; // EtherTypes of tags, outermost first
    bool ipv6{false};
    std::vector<std::uint8_t> extensions{}; // IPv6 extension headers: their protocol numbers
    std::size_t ip_options{0};              // bytes, of 4
    std::uint8_t protocol{6};
    std::size_t tcp_options{12}; // bytes, of 4
    std::size_t payload{100};
    std::uint8_t tcp_flags{0x10}; // ACK
    std::uint32_t sequence{0xffff'f000};
    std::uint16_t identifier{0xfff0};
    std::uint8_t seed{1};

    [[nodiscard]] std::size_t network() const { return 14 + tags.size() * 4; }
    [[nodiscard]] std::size_t transport() const
    {
        return network() + (ipv6 ? 40 + extensions.size() * 8 : 20 + ip_options);
    }
    [[nodiscard]] std::size_t header_length() const
    {
        return transport() + (protocol == 6 ? 20 + tcp_options : 8);
    }
    [[nodiscard]] std::size_t field() const { return transport() + (protocol == 6 ? 16 : 6); }
    [[nodiscard]] std::size_t size() const { return header_length() + payload; }

    // Of the pseudo-header.
    [[nodiscard]] static unsigned pseudo_sum(const frame& f, std::size_t network, bool ipv6,
                                             std::size_t transport, std::uint8_t protocol)
    {
        frame pseudo;
        const auto first = f.begin() + static_cast<std::ptrdiff_t>(network);
        if (ipv6) {
            pseudo.assign(first + 8, first + 40);
        } else {
            pseudo.assign(first + 12, first + 20);
        }
        const std::size_t length = f.size() - transport;
        pseudo.push_back(0);
        pseudo.push_back(protocol);
        pseudo.push_back(static_cast<std::uint8_t>(length >> 8));
        pseudo.push_back(static_cast<std::uint8_t>(length));
        return plain_sum(pseudo, 0, pseudo.size());
    }

    // With the pseudo-header's sum in the checksum field, or with the checksum.
    [[nodiscard]] frame build(bool blank) const
    {
        frame f = make_frame("02:00:00:00:00:02", "02:00:00:00:00:01", size(), seed);
        std::size_t at = 12;
        for (const std::uint16_t tag : tags) {
            put16(f, at, tag);
            put16(f, at + 2, 0x6005);
            at += 4;
        }
        put16(f, at, ipv6 ? 0x86dd : 0x0800);
        at = network();
        if (ipv6) {
            put32(f, at, 0x6001'2345);
            put16(f, at + 4, static_cast<unsigned>(size() - at - 40));
            f.at(at + 6) = extensions.empty() ? protocol : extensions.front();
            f.at(at + 7) = 64;
            at += 40;
            for (std::size_t i = 0; i < extensions.size(); ++i, at += 8) {
                std::fill_n(f.begin() + static_cast<std::ptrdiff_t>(at), 8, std::uint8_t{0});
                f.at(at) = i + 1 < extensions.size() ? extensions[i + 1] : protocol;
            }
        } else {
            f.at(at) = static_cast<std::uint8_t>(0x45 + ip_options / 4);
            f.at(at + 1) = 0;
            put16(f, at + 2, static_cast<unsigned>(size() - at));
            put16(f, at + 4, identifier);
            put16(f, at + 6, 0x4000);
            f.at(at + 8) = 64;
            f.at(at + 9) = protocol;
            put16(f, at + 10, 0);
            put16(f, at + 10, 0xffff ^ plain_sum(f, at, at + 20 + ip_options));
        }
        at = transport();
        if (protocol == 6) {
            put32(f, at + 4, sequence);
            f.at(at + 12) = static_cast<std::uint8_t>((20 + tcp_options) / 4 << 4);
            f.at(at + 13) = tcp_flags;
        } else {
            put16(f, at + 4, static_cast<unsigned>(f.size() - at));
        }
        put16(f, field(), pseudo_sum(f, network(), ipv6, at, protocol));
        if (!blank) {
            const unsigned sum = 0xffff ^ plain_sum(f, at, f.size());
            put16(f, field(), sum == 0 && protocol == 17 ? 0xffff : sum);
        }
        return f;
    }

    // Whether all that a receiver checks of a frame of this shape is right.
    [[nodiscard]] bool correct(const frame& f) const
    {
        const std::size_t at = network();
        if (ipv6 ? get16(f, at + 4) != f.size() - at - 40
                 : get16(f, at + 2) != f.size() - at ||
                       plain_sum(f, at, at + 20 + ip_options) != 0xffff) {
            return false;
        }
        if (protocol == 17 && get16(f, transport() + 4) != f.size() - transport()) {
            return false;
        }
        const unsigned sum =
            pseudo_sum(f, at, ipv6, transport(), protocol) + plain_sum(f, transport(), f.size());
        return (sum & 0xffff) + (sum >> 16) == 0xffff;
    }
};

// Head and pieces of memory of their own, each exactly as long as it says.
class split_packet {
public:
    split_packet(const frame& f, std::size_t head, const std::vector<std::size_t>& pieces)
    {
        head_.reset(new std::byte[dataplane::head_room + head]);
        dataplane::packet& p = *slot_;
        p.data = head_.get() + dataplane::head_room;
        p.length = static_cast<std::uint32_t>(f.size());
        p.head_length = static_cast<std::uint16_t>(head);
        std::transform(f.begin(), f.begin() + static_cast<std::ptrdiff_t>(head), p.data,
                       [](std::uint8_t byte) { return std::byte{byte}; });
        std::size_t at = head;
        for (const std::size_t n : pieces) {
            memory_.emplace_back(new std::uint8_t[n]);
            std::memcpy(memory_.back().get(), f.data() + at, n);
            segments_.emplace_back(memory_.back().get(), n);
            at += n;
        }
        p.segments = segments_.data();
        p.segment_count = static_cast<std::uint16_t>(segments_.size());
        p.destinations = 1;
    }
    template <typename Random>
    static split_packet random(const frame& f, std::size_t head, Random& random)
    {
        std::vector<std::size_t> pieces;
        for (std::size_t left = f.size() - head; left > 0;) {
            const std::size_t limit = random() % 3 == 0 ? 7 : random() % 3 == 0 ? 5000 : 600;
            const std::size_t n = pieces.size() + 1 == dataplane::burst::max_segments
                                      ? left
                                      : std::min<std::size_t>(left, 1 + random() % limit);
            pieces.push_back(n);
            left -= n;
        }
        return {f, head, pieces};
    }
    [[nodiscard]] dataplane::packet& get() noexcept { return *slot_; }

private:
    std::unique_ptr<dataplane::packet> slot_{new dataplane::packet{}};
    std::unique_ptr<std::byte[]> head_;
    std::vector<std::unique_ptr<std::uint8_t[]>> memory_;
    std::vector<dataplane::guest_span> segments_;
};

} // namespace strait::test
