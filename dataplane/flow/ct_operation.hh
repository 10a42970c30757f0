// SPDX-License-Identifier: BSD-3-Clause
// How a program has a ct action: what connection tracking is asked for, and, if the packet goes on
// in a table, what rules have made of its registers until then. What is done with it is
// passes.hh's business.
//
// The operation's word has in count `flag`s, in a the zone, in b from bit 0: how many words follow
// (16), the table (12), the helper (4). Those that follow are, as far as the flags have them: where
// the translation lies; the mark (32) and its mask (32); the label's value and mask in two words
// each; and of who goes on a `frozen` word, with two words for each changed one of the key, its
// value and mask, two for each field on the stack, and one for each action in the set.
#pragma once

#include "dataplane/conntrack/request.hh"
#include "dataplane/flow/program.hh"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::flow {

struct ct_flag {
    static constexpr std::uint8_t commits = 1;
    static constexpr std::uint8_t forces = 2;
    static constexpr std::uint8_t goes_on = 4;
    static constexpr std::uint8_t knows = 8; // what ct fields there are from actions before
    static constexpr std::uint8_t translates = 16;
    static constexpr std::uint8_t marks = 32;
    static constexpr std::uint8_t labels = 64;
    static constexpr std::uint8_t of_port = 128; // the zone
};

// The upper half of the operation's b.
[[nodiscard]] constexpr std::uint32_t table_and_helper(table_id table, ct::helper alg) noexcept
{
    static_assert(table_count <= 1U << 12);
    return std::uint32_t{table} << 16 | static_cast<std::uint32_t>(alg) << 28;
}

// In a word: which words of the key were changed (48), fields on the stack (7), actions (7).
struct frozen {
    std::uint64_t changed;
    std::uint8_t stack;
    std::uint8_t actions;

    static constexpr unsigned count_bits = 7;
    static_assert(key_words + 2 * count_bits <= 64);
    static constexpr std::uint64_t any_word = (std::uint64_t{1} << key_words) - 1;
    static constexpr std::uint64_t any_count = (std::uint64_t{1} << count_bits) - 1;

    [[nodiscard]] static constexpr frozen of(std::uint64_t word) noexcept
    {
        return {word & any_word, static_cast<std::uint8_t>(word >> key_words & any_count),
                static_cast<std::uint8_t>(word >> (key_words + count_bits))};
    }
    [[nodiscard]] constexpr std::uint64_t word() const noexcept
    {
        return changed | std::uint64_t{stack} << key_words |
               std::uint64_t{actions} << (key_words + count_bits);
    }
    // Of stack and set.
    [[nodiscard]] constexpr std::size_t words_behind() const noexcept
    {
        return std::size_t{2} * stack + actions;
    }
};

// What the words say.
class ct_operation {
public:
    bool knows;
    bool goes_on;
    table_id table;
    frozen state{};
    const std::uint64_t* changes{nullptr};   // value and mask of each
    std::span<const std::uint64_t> behind{}; // the stack, the set

    ct_operation(const operation& o, const std::uint64_t* words) noexcept
        : knows{has(o, ct_flag::knows)},
          goes_on{has(o, ct_flag::goes_on)},
          table{static_cast<table_id>(o.b >> 16 & 0xfff)},
          operation_{o},
          words_{words}
    {
        if (goes_on) {
            words += std::size_t{has(o, ct_flag::translates)} + has(o, ct_flag::marks) +
                     label_words * has(o, ct_flag::labels);
            state = frozen::of(*words++);
            changes = words;
            words += 2 * static_cast<std::size_t>(std::popcount(state.changed));
            behind = {words, state.words_behind()};
        }
    }

    // Written where it stays: to be copied at once, it would have to be waited for.
    void write_to(conntrack::parameters& asked) const noexcept
    {
        const operation& o = operation_;
        const std::uint64_t* words = words_;
        asked.zone = conntrack::make_zone(o.a, has(o, ct_flag::of_port));
        asked.commit = has(o, ct_flag::commits);
        asked.force = has(o, ct_flag::forces);
        asked.alg = static_cast<ct::helper>(o.b >> 28);
        asked.translation =
            has(o, ct_flag::translates) ? std::bit_cast<const nat*>(*words++) : nullptr;
        const std::uint64_t mark = has(o, ct_flag::marks) ? *words++ : 0;
        asked.mark = static_cast<std::uint32_t>(mark);
        asked.mark_mask = static_cast<std::uint32_t>(mark >> 32);
        asked.label = {};
        asked.label_mask = {};
        if (has(o, ct_flag::labels)) {
            asked.label = {words[0], words[1]};
            asked.label_mask = {words[2], words[3]};
        }
    }

private:
    static constexpr std::size_t label_words = 4;
    [[nodiscard]] static constexpr bool has(const operation& o, std::uint8_t flag) noexcept
    {
        return (o.count & flag) != 0;
    }

    operation operation_;
    const std::uint64_t* words_;
};

} // namespace strait::flow
