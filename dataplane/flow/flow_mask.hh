// SPDX-License-Identifier: BSD-3-Clause
// Which bits of a key a rule asks about, without the words of which it asks none, and the hash of
// what a key has there. Equal masks are one object. What the bits must be is the rule's (rule.hh).
#pragma once

#include "dataplane/flow/key.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace strait::flow {

// Fields that differ from packet to packet of one flow.
[[nodiscard]] constexpr key varying_fields() noexcept
{
    constexpr wide ecn{3};
    key out;
    out.set(field::tcp_flags, ~wide{});
    out.set(field::nw_ttl, ~wide{});
    out.set(field::packet_length, ~wide{});
    out.set(field::nw_tos, ecn, ecn);
    return out;
}

// Whether a mask has all bits of another.
[[nodiscard]] constexpr bool covers(const key& mask, const key& other) noexcept
{
    std::uint64_t missing = 0;
    for (std::size_t i = 0; i < key_words; ++i) {
        missing |= other.words[i] & ~mask.words[i];
    }
    return missing == 0;
}

// A hash has 48 bits.
inline constexpr unsigned hash_bits = 48;

// Hashes words one after the other.
class word_hash {
public:
    // Of two words, or of the last one and zero.
    void add(std::uint64_t first, std::uint64_t second, std::size_t at) noexcept
    {
        sum_ ^= fold(first ^ seed(at), second ^ seed(at + 1));
    }
    [[nodiscard]] std::uint64_t value() const noexcept
    {
        return sum_ & ((std::uint64_t{1} << hash_bits) - 1);
    }

    // Both halves of the product: each bit of the result depends on all of both.
    [[nodiscard]] static constexpr std::uint64_t fold(std::uint64_t a, std::uint64_t b) noexcept
    {
        __extension__ using product = unsigned __int128;
        const auto p = static_cast<product>(a) * b;
        return static_cast<std::uint64_t>(p) ^ static_cast<std::uint64_t>(p >> 64);
    }

private:
    [[nodiscard]] static std::uint64_t seed(std::size_t at) noexcept { return seeds_[at]; }

    // Random, so that collisions cannot be prepared by a guest.
    static const std::array<std::uint64_t, key_words + 2> seeds_;
    std::uint64_t sum_{0};
};

class flow_mask {
public:
    // What is asked of one word of the key.
    struct part {
        std::uint64_t bits; // not zero
        std::uint8_t word;
        constexpr bool operator==(const part&) const noexcept = default;
    };

    // The one object there is for this mask. Any thread but a worker.
    [[nodiscard]] static std::shared_ptr<const flow_mask> of(const key& mask);

    explicit flow_mask(std::vector<part> parts);

    // By words, ascending.
    [[nodiscard]] std::span<const part> parts() const noexcept { return parts_; }
    // The same without varying_fields().
    [[nodiscard]] std::span<const part> steady() const noexcept
    {
        return varies() ? std::span{steady_} : std::span{parts_};
    }
    [[nodiscard]] bool varies() const noexcept { return varies_; }

    [[nodiscard]] key whole() const noexcept;
    // Adds the bits of this mask, or of its steady part, to those of `to`.
    void add_to(key& to) const noexcept { add(parts(), to); }
    void add_steady_to(key& to) const noexcept { add(steady(), to); }

    // Of what a key has under this mask, or under its steady part.
    [[nodiscard]] std::uint64_t hash(const key& k) const noexcept { return hash(parts(), k); }
    [[nodiscard]] std::uint64_t steady_hash(const key& k) const noexcept
    {
        return hash(steady(), k);
    }

    // The hash of a key that has these values under a mask, those of its parts.
    [[nodiscard]] static std::uint64_t hash_of(std::span<const std::uint64_t> values) noexcept;

    // Ranks masks whatever rules there are: the more bits, the higher. 48 bits; differs between
    // masks, but for one pair in 2^36.
    [[nodiscard]] std::uint64_t rank() const noexcept { return rank_; }

private:
    [[nodiscard]] static std::uint64_t hash(std::span<const part> parts, const key& k) noexcept;
    static void add(std::span<const part> parts, key& to) noexcept
    {
        for (const part& p : parts) {
            to.words[p.word] |= p.bits;
        }
    }

    std::vector<part> parts_;
    std::vector<part> steady_; // empty if nothing varies: parts_ serves
    std::uint64_t rank_{0};
    bool varies_{false};
};

} // namespace strait::flow
