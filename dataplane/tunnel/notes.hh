// SPDX-License-Identifier: BSD-3-Clause
// What flows know of a packet's tunnel beside its frame: the words of its key with the tunnel
// fields, as it was received with, or as actions set them. Packets refer to notes by number, 0 for
// none. One worker's; a burst's notes end with it.
#pragma once

#include "dataplane/flow/key.hh"
#include "dataplane/packet.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace strait::tunnel {

class notes {
public:
    static constexpr std::size_t first_word = flow::place_of(flow::field::tun_id).word;
    static constexpr std::size_t word_count =
        flow::place_of(flow::field::tun_gbp_id).word - first_word + std::size_t{1};
    using words = std::array<std::uint64_t, word_count>;

    static constexpr std::size_t capacity = std::size_t{1} << dataplane::packet_note::tunnel_bits;
    static constexpr std::uint16_t none = 0;

    // none: there is no room.
    [[nodiscard]] std::uint16_t add(const words& w) noexcept
    {
        if (count_ == capacity) {
            return none;
        }
        (*all_)[count_] = w;
        return static_cast<std::uint16_t>(count_++);
    }
    [[nodiscard]] const words& at(std::uint16_t note) const noexcept
    {
        return (*all_)[note & dataplane::packet_note::tunnel];
    }

    void clear() noexcept { count_ = 1; }

private:
    std::unique_ptr<std::array<words, capacity>> all_{new std::array<words, capacity>{}};
    std::size_t count_{1};
};

} // namespace strait::tunnel
