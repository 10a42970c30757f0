// SPDX-License-Identifier: BSD-3-Clause
// What flows know of a packet's tunnel beside its frame: the words of its key with the tunnel
// fields, as it was received with, or as actions set them. Packets refer to notes by number, 0 for
// none. One worker's; a burst's notes end with it.
#pragma once

#include "dataplane/flow/key.hh"
#include "dataplane/flow/option_map.hh"
#include "dataplane/packet.hh"

#include <algorithm>
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
    // Of Geneve's options, which are there, and what they have. Few packets have any, so these are
    // kept elsewhere and neither written nor read for the others.
    static constexpr std::size_t first_option_word = flow::place_of(flow::field::tun_present).word;
    using option_values = std::array<std::uint64_t, 1 + flow::option_words>;

    static constexpr std::size_t capacity = std::size_t{1} << dataplane::packet_note::tunnel_bits;
    static constexpr std::uint16_t none = 0;

    // none: there is no room.
    [[nodiscard]] std::uint16_t add(const words& w) noexcept
    {
        if (count_ == capacity) {
            return none;
        }
        (*all_)[count_] = {w, false};
        return static_cast<std::uint16_t>(count_++);
    }
    [[nodiscard]] std::uint16_t add(const words& w, const option_values& options) noexcept
    {
        const std::uint16_t added = add(w);
        if (added != none) {
            (*all_)[added].has_options = true;
            (*options_)[added] = options;
        }
        return added;
    }
    // Of all of a key's words of the tunnel.
    [[nodiscard]] std::uint16_t add(const flow::key& k) noexcept
    {
        words w;
        std::copy_n(k.words.begin() + first_word, w.size(), w.begin());
        option_values options;
        std::copy_n(k.words.begin() + first_option_word, options.size(), options.begin());
        return options[0] == 0 ? add(w) : add(w, options);
    }
    // Another one with the same.
    [[nodiscard]] std::uint16_t add_copy(std::uint16_t note) noexcept
    {
        const option_values* const options = options_at(note);
        return options != nullptr ? add(at(note), *options) : add(at(note));
    }
    // Of one that was added: in the key's word `word`, which is a tunnel's, the bits of `mask`
    // become those of `value`, which has no others.
    void change(std::uint16_t note, std::size_t word, std::uint64_t value,
                std::uint64_t mask) noexcept
    {
        std::uint64_t& to = word < first_option_word ? (*all_)[note].values[word - first_word]
                                                     : own_options(note)[word - first_option_word];
        to = (to & ~mask) | value;
    }

    [[nodiscard]] const words& at(std::uint16_t note) const noexcept
    {
        return (*all_)[note & dataplane::packet_note::tunnel].values;
    }
    // Null: it has none.
    [[nodiscard]] const option_values* options_at(std::uint16_t note) const noexcept
    {
        const std::size_t i = note & dataplane::packet_note::tunnel;
        return (*all_)[i].has_options ? &(*options_)[i] : nullptr;
    }
    // A key's words of the tunnel, all of them.
    void read(std::uint16_t note, flow::key& to) const noexcept
    {
        const words& w = at(note);
        std::copy(w.begin(), w.end(), to.words.begin() + first_word);
        const auto options = to.words.begin() + first_option_word;
        if (const option_values* const there = options_at(note)) [[unlikely]] {
            std::copy(there->begin(), there->end(), options);
        } else if (*options != 0) [[unlikely]] { // another packet's, which had some
            std::fill_n(options, option_values{}.size(), 0);
        }
    }

    void clear() noexcept { count_ = 1; }

private:
    struct alignas(64) note_words {
        words values;
        bool has_options;
    };
    [[nodiscard]] option_values& own_options(std::uint16_t note) noexcept
    {
        if (!(*all_)[note].has_options) {
            (*all_)[note].has_options = true;
            (*options_)[note] = {};
        }
        return (*options_)[note];
    }

    std::unique_ptr<std::array<note_words, capacity>> all_{new std::array<note_words, capacity>{}};
    // Untouched, and so without memory of its own, as long as there are no options.
    std::unique_ptr<std::array<option_values, capacity>> options_{
        new std::array<option_values, capacity>};
    std::size_t count_{1};
};

} // namespace strait::tunnel
