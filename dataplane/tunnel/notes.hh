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
    // What Geneve's options have. Few packets have any, so these words are kept elsewhere and
    // neither written nor read for the others.
    static constexpr std::size_t first_option_word = flow::place_of(flow::field::tun_data0).word;
    struct option_values {
        std::uint64_t present{0}; // as tun_present has it
        std::array<std::uint64_t, flow::option_words> data{};
        bool operator==(const option_values&) const noexcept = default;
    };

    static constexpr std::size_t capacity = std::size_t{1} << dataplane::packet_note::tunnel_bits;
    static constexpr std::uint16_t none = 0;

    [[nodiscard]] bool full() const noexcept { return count_ == capacity; }
    // none: there is no room.
    [[nodiscard]] std::uint16_t add(const words& w) noexcept
    {
        if (full()) {
            return none;
        }
        (*all_)[count_] = {w, false};
        return static_cast<std::uint16_t>(count_++);
    }
    [[nodiscard]] std::uint16_t add(const words& w, const option_values& options) noexcept
    {
        const std::uint16_t added = add(w);
        if (added != none) {
            constexpr flow::field_place at = flow::place_of(flow::field::tun_present);
            (*all_)[added].values[at.word - first_word] |= options.present << at.shift;
            (*all_)[added].has_options = true;
            (*options_)[added] = options.data;
        }
        return added;
    }
    // Of all of a key's words of the tunnel.
    [[nodiscard]] std::uint16_t add(const flow::key& k) noexcept
    {
        words w;
        std::copy_n(k.words.begin() + first_word, w.size(), w.begin());
        option_values options{k.number(flow::field::tun_present)};
        std::copy_n(k.words.begin() + first_option_word, options.data.size(), options.data.begin());
        return options.present == 0 ? add(w) : add(w, options);
    }
    // Another one with the same.
    [[nodiscard]] std::uint16_t add_copy(std::uint16_t note) noexcept
    {
        const std::uint16_t added = add(at(note));
        if (added != none && has_options(note)) {
            (*all_)[added].has_options = true;
            (*options_)[added] = (*options_)[note & dataplane::packet_note::tunnel];
        }
        return added;
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
    [[nodiscard]] bool has_options(std::uint16_t note) const noexcept
    {
        return (*all_)[note & dataplane::packet_note::tunnel].has_options;
    }
    // Of one that has some.
    [[nodiscard]] option_values options_of(std::uint16_t note) const noexcept
    {
        constexpr flow::field_place at_word = flow::place_of(flow::field::tun_present);
        return {at(note)[at_word.word - first_word] >> at_word.shift,
                (*options_)[note & dataplane::packet_note::tunnel]};
    }
    // A key's words of the tunnel, all of them.
    void read(std::uint16_t note, flow::key& to) const noexcept
    {
        const bool had_options = to.number(flow::field::tun_present) != 0;
        const words& w = at(note);
        std::copy(w.begin(), w.end(), to.words.begin() + first_word);
        const auto options = to.words.begin() + first_option_word;
        if (has_options(note)) [[unlikely]] {
            const auto& there = (*options_)[note & dataplane::packet_note::tunnel];
            std::copy(there.begin(), there.end(), options);
        } else if (had_options) [[unlikely]] { // another packet
            std::fill_n(options, flow::option_words, 0);
        }
    }

    void clear() noexcept { count_ = 1; }

private:
    struct alignas(64) note_words {
        words values;
        bool has_options;
    };
    using option_data = std::array<std::uint64_t, flow::option_words>;
    [[nodiscard]] option_data& own_options(std::uint16_t note) noexcept
    {
        if (!(*all_)[note].has_options) {
            (*all_)[note].has_options = true;
            (*options_)[note] = {};
        }
        return (*options_)[note];
    }

    std::unique_ptr<std::array<note_words, capacity>> all_{new std::array<note_words, capacity>{}};
    // Untouched, and so without memory of its own, as long as there are no options.
    std::unique_ptr<std::array<option_data, capacity>> options_{
        new std::array<option_data, capacity>};
    std::size_t count_{1};
};

} // namespace strait::tunnel
