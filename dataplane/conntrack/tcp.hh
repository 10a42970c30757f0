// SPDX-License-Identifier: BSD-3-Clause
// What a connection tracker knows of a TCP connection, and what a segment makes of it: the states
// that both ends go through as somebody between them sees it (RFC 9293), and the window that a
// segment must lie in (G. van Rooij, Real Stateful TCP Packet Filtering in IP Filter, 2001). Knows
// no table and no time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::conntrack {

namespace tcp {

// Bits of a segment's flags.
inline constexpr std::uint8_t fin = 0x01;
inline constexpr std::uint8_t syn = 0x02;
inline constexpr std::uint8_t rst = 0x04;
inline constexpr std::uint8_t ack = 0x10;
inline constexpr std::uint8_t urg = 0x20;

enum class state : std::uint8_t {
    none, // nothing was seen yet
    syn_sent,
    syn_sent_by_both,
    syn_received, // the answer to a SYN was seen
    established,
    fin_wait,   // one side has closed
    close_wait, // and the other has acknowledged it
    last_ack,   // both have closed
    time_wait,  // and that is acknowledged
    closed,     // reset
};
inline constexpr std::size_t state_count = static_cast<std::size_t>(state::closed) + 1;

struct segment {
    std::uint32_t sequence{0};
    std::uint32_t acknowledged{0};
    std::uint32_t length{0}; // of its data
    std::uint16_t window{0};
    std::uint8_t flags{0};
    bool partial{false};                  // a fragment: how much data there is, it does not say
    std::span<const std::byte> options{}; // as far as they can be read

    // In sequence numbers: SYN and FIN have one each.
    [[nodiscard]] std::uint32_t end() const noexcept
    {
        return sequence + length + ((flags & syn) != 0 ? 1U : 0U) + ((flags & fin) != 0 ? 1U : 0U);
    }
};

// What is known of what each side sends: the original one's first.
struct stream {
    std::array<std::uint32_t, 2> end{};          // behind the last byte that it sent
    std::array<std::uint32_t, 2> limit{};        // behind what the other side lets it send
    std::array<std::uint32_t, 2> acknowledged{}; // the highest that it acknowledged; see flags
    // The largest it offered, in units of its scale; 0: it sent nothing.
    std::array<std::uint16_t, 2> window{};
    state is{state::none};
    std::uint8_t scales{0}; // the original side's in the lower four bits
    std::uint8_t flags{0};
    std::uint8_t note{0}; // whoever has the stream may have bits of its own here

    [[nodiscard]] unsigned scale(unsigned of) const noexcept { return scales >> (of * 4) & 0xfU; }
    void set_scale(unsigned of, unsigned scale) noexcept
    {
        scales = static_cast<std::uint8_t>((scales & ~(0xfU << (of * 4))) | scale << (of * 4));
    }
    [[nodiscard]] bool has(std::uint8_t flag, unsigned of = 0) const noexcept
    {
        return (flags & flag << (of * 2)) != 0;
    }
    void set(std::uint8_t flag, unsigned of = 0) noexcept
    {
        flags = static_cast<std::uint8_t>(flags | flag << (of * 2));
    }
};
static_assert(sizeof(stream) == 32);
// Of stream::flags, for the original side; the other's are two bits higher.
inline constexpr std::uint8_t liberal = 0x01;          // its window is not known
inline constexpr std::uint8_t has_acknowledged = 0x02; // stream::acknowledged means something
// Of both.
inline constexpr std::uint8_t syn_ignored = 0x10;       // there is a resync
inline constexpr std::uint8_t ignored_was_reply = 0x20; // from the side that answers
inline constexpr std::uint8_t scaled = 0x40;            // the first SYN had a window scale

// Calls `visit` with the kind and the content of each option but padding, while lengths make sense.
template <typename Visit>
void each_option(std::span<const std::byte> options, const Visit& visit) noexcept
{
    while (!options.empty()) {
        const auto kind = std::to_integer<std::uint8_t>(options[0]);
        if (kind == 0) {
            return;
        }
        if (kind == 1) {
            options = options.subspan(1);
            continue;
        }
        if (options.size() < 2) {
            return;
        }
        const auto size = std::to_integer<std::size_t>(options[1]);
        if (size < 2 || size > options.size()) {
            return;
        }
        visit(kind, options.subspan(2, size - 2));
        options = options.subspan(size);
    }
}

inline constexpr std::uint8_t selective = 5; // edges of what has come out of order, four bytes each

// A SYN where none was expected: if the other side answers it, the ends know better than we.
struct resync {
    std::uint32_t end{0};
    std::uint16_t window{0};
    std::uint8_t scale{0};
    bool scaled{false};
};
static_assert(sizeof(resync) == 8);

enum class verdict : std::uint8_t {
    valid,
    invalid,
    reopened, // a new connection in the place of one that has ended
};

// Flags that no TCP sends together make a segment invalid whatever it belongs to.
[[nodiscard]] bool has_valid_flags(std::uint8_t flags) noexcept;

// The first segment of a connection. False: none begins like that.
[[nodiscard]] bool may_begin(const segment& s) noexcept;
void begin(stream& known, const segment& s) noexcept;

// A further one, of the original side or of the other (`reply`).
// `ignored` is used where a SYN is.
[[nodiscard]] verdict advance(stream& known, resync& ignored, const segment& s,
                              bool reply) noexcept;

} // namespace tcp

} // namespace strait::conntrack
