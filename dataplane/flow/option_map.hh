// SPDX-License-Identifier: BSD-3-Clause
// Which of Geneve's options a bridge's flows know, as tun_metadata0 to 63, and where keys have what
// they carry. How options lie in packets is tunnel/options.hh's business, what text says of them
// control/flow_options.hh's.
#pragma once

#include "dataplane/flow/key.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace strait::flow {

inline constexpr std::size_t option_name_count = 64;   // tun_metadata0 and so on
inline constexpr std::size_t option_words = 8;         // that keys have for all of them
inline constexpr std::size_t option_word_bytes = 8;    // an option has words of its own
inline constexpr std::size_t longest_option_data = 64; // of one that has all of them
static_assert(longest_option_data == option_words * option_word_bytes);

// A type's highest bit: who does not understand the option must drop the packet (RFC 8926).
inline constexpr std::uint8_t critical_option = 0x80;

struct option {
    std::uint16_t option_class{0};
    std::uint8_t type{0};
    std::uint8_t length{0}; // bytes of data: a multiple of 4, from 4 to longest_option_data
    std::uint8_t index{0};  // N of tun_metadataN
    // Of what keys have for options, those that have its data: the lowest 64 bits in the first, of
    // the data read as one number whose first byte on the wire is the highest.
    std::array<std::uint8_t, option_words> words{};

    [[nodiscard]] constexpr std::size_t word_count() const noexcept
    {
        return (length + option_word_bytes - 1) / option_word_bytes;
    }
    [[nodiscard]] constexpr unsigned bits() const noexcept { return length * 8U; }
    // Of its data's bits from 64 * i on, below word_count(): the field, and how many it has there.
    [[nodiscard]] constexpr field field_at(std::size_t i) const noexcept
    {
        return static_cast<field>(static_cast<unsigned>(field::tun_data0) + words[i]);
    }
    [[nodiscard]] constexpr unsigned bits_at(std::size_t i) const noexcept
    {
        const unsigned behind = bits() - 64 * static_cast<unsigned>(i);
        return behind < 64 ? behind : 64;
    }
    // Of tun_present.
    [[nodiscard]] constexpr wide present_bit() const noexcept
    {
        return wide{std::uint64_t{1} << words[0]};
    }
};

// A value; control makes another one for each change.
class option_map {
public:
    // Nothing: there is no room for it. It is none that there is already, by index or on the wire.
    // Sets its words.
    [[nodiscard]] bool add(option o);
    void remove(std::uint8_t index);

    // In the order of their indices.
    [[nodiscard]] std::span<const option> all() const noexcept { return all_; }
    [[nodiscard]] bool empty() const noexcept { return all_.empty(); }
    // Null: there is none.
    [[nodiscard]] const option* at(std::size_t index) const noexcept;
    [[nodiscard]] const option* find(std::uint16_t option_class, std::uint8_t type) const noexcept;
    // Whose data one of tun_data0 and the others has.
    [[nodiscard]] const option* owner_of(field data) const noexcept;
    // Bytes of data that one more may have.
    [[nodiscard]] std::size_t room() const noexcept;

private:
    [[nodiscard]] unsigned free_words() const noexcept;

    std::vector<option> all_;
};

} // namespace strait::flow
