// SPDX-License-Identifier: BSD-3-Clause
// All that a packet may be matched on, in one form: 64-bit words in host order, so that masks,
// comparisons and copies of bits from field to field are the same for all of them. And the match of
// a rule: values under a mask.
#pragma once

#include "dataplane/flow/field.hh"

#include <array>
#include <cstdint>

namespace strait::flow {

// Up to 128 bits of a field.
struct wide {
    std::uint64_t high{0};
    std::uint64_t low{0};

    constexpr wide() noexcept = default;
    constexpr wide(std::uint64_t value) noexcept : low{value} {} // NOLINT(google-explicit-*)
    constexpr wide(std::uint64_t h, std::uint64_t l) noexcept : high{h}, low{l} {}

    // The lowest `bits`, 0 to 128.
    [[nodiscard]] static constexpr wide ones(unsigned bits) noexcept
    {
        const auto of = [](unsigned n) noexcept {
            return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
        };
        return bits <= 64 ? wide{0, of(bits)} : wide{of(bits - 64), of(64)};
    }
    [[nodiscard]] constexpr bool is_zero() const noexcept { return (high | low) == 0; }
    constexpr bool operator==(const wide&) const noexcept = default;
    constexpr wide operator&(const wide& o) const noexcept { return {high & o.high, low & o.low}; }
    constexpr wide operator|(const wide& o) const noexcept { return {high | o.high, low | o.low}; }
    constexpr wide operator^(const wide& o) const noexcept { return {high ^ o.high, low ^ o.low}; }
    constexpr wide operator~() const noexcept { return {~high, ~low}; }
    constexpr wide operator<<(unsigned n) const noexcept // 0 to 127
    {
        if (n == 0) {
            return *this;
        }
        return n >= 64 ? wide{low << (n - 64), 0} : wide{high << n | low >> (64 - n), low << n};
    }
    constexpr wide operator>>(unsigned n) const noexcept // 0 to 127
    {
        if (n == 0) {
            return *this;
        }
        return n >= 64 ? wide{0, high >> (n - 64)} : wide{high >> n, low >> n | high << (64 - n)};
    }
};

struct key {
    std::array<std::uint64_t, key_words> words{};

    [[nodiscard]] constexpr wide get(field f) const noexcept
    {
        const field_place p = place_of(f);
        if (p.width > 64) {
            return {words[p.word], words[p.word + std::size_t{1}]};
        }
        return wide{words[p.word] >> p.shift} & wide::ones(p.width);
    }
    // Of a field of 64 bits at most.
    [[nodiscard]] constexpr std::uint64_t number(field f) const noexcept { return get(f).low; }

    // The bits of `mask` become those of `value`.
    constexpr void set(field f, wide value, wide mask) noexcept
    {
        const field_place p = place_of(f);
        mask = mask & wide::ones(p.width);
        if (p.width > 64) {
            put(words[p.word], value.high, mask.high);
            put(words[p.word + std::size_t{1}], value.low, mask.low);
        } else {
            put(words[p.word], value.low << p.shift, mask.low << p.shift);
        }
    }
    constexpr void clear() noexcept { words = {}; }
    constexpr void set(field f, wide value) noexcept { set(f, value, wide::ones(width_of(f))); }

    constexpr bool operator==(const key&) const noexcept = default;

private:
    static constexpr void put(std::uint64_t& word, std::uint64_t value, std::uint64_t mask) noexcept
    {
        word = (word & ~mask) | (value & mask);
    }
};

// What a rule asks of a packet: its key under `mask` is `value`, which has no bit outside of mask.
struct match {
    key value;
    key mask;

    constexpr void require(field f, wide v, wide m) noexcept
    {
        value.set(f, v & m, m);
        mask.set(f, m, m);
    }
    constexpr void require(field f, wide v) noexcept { require(f, v, wide::ones(width_of(f))); }

    [[nodiscard]] constexpr bool matches(const key& k) const noexcept
    {
        std::uint64_t differs = 0;
        for (std::size_t i = 0; i < key_words; ++i) {
            differs |= (k.words[i] & mask.words[i]) ^ value.words[i];
        }
        return differs == 0;
    }
    constexpr bool operator==(const match&) const noexcept = default;
};

} // namespace strait::flow
