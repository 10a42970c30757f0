// SPDX-License-Identifier: BSD-3-Clause
// What a flow's packets go through, as words that a worker runs: made by translate.cc, run by
// forward.cc, kept in the flow cache. It refers to tables, ports, groups and meters, and has none
// of their answers.
//
// An operation is a word, from bit 0: code (8), count (8), a (16), b (32); and the words that
// follow it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::flow {

enum class operation_code : std::uint8_t {
    output,     // b: port_index. The frame as it is by then
    output_cut, // a: bytes of it that leave at the most; b: port_index
    normal,     // a: port_index that it is to have come from. L2 switching
    flood,      // a: port_index. To all ports of the bridge but this one, as it is
    set,        // count times three words: index of a key's word, value, mask
    push_vlan,  // a: TPID; b: TCI
    pop_vlan,
    decrement_ttl, // the TTL is more than 1
    set_tunnel,    // as `set`, of what is known of its tunnel beside the frame
    set_queue,     // a: of a port that it leaves by
    clone,         // b: so many words that follow are done to a copy
    ct,            // see ct_operation.hh; b, its lower half: so many words follow
    drop,          // what was asked for is done, and the frame goes nowhere; a: drop_reason
    keep_head,     // as it is now, for what time_exceeded tells
    time_exceeded, // the sender is told by ICMP, once; two words follow: from which address
    // A word behind these points at the group, meter or rule, which the pipeline has.
    count_group, // a packet takes all buckets
    count_rule,  // a packet has met it
    meter,       // what is too much goes no further
    // A packet takes one of a group's buckets. Behind the pointer there is a word that its hash
    // begins with; then b words of alternatives.
    choose,
    alternative, // a: the bucket's place in the group; b: so many words that follow are its program
};

struct operation {
    operation_code code;
    std::uint8_t count;
    std::uint16_t a;
    std::uint32_t b;

    [[nodiscard]] static constexpr operation of(std::uint64_t word) noexcept
    {
        return {static_cast<operation_code>(word & 0xff), static_cast<std::uint8_t>(word >> 8),
                static_cast<std::uint16_t>(word >> 16), static_cast<std::uint32_t>(word >> 32)};
    }
    [[nodiscard]] constexpr std::uint64_t word() const noexcept
    {
        return static_cast<std::uint64_t>(code) | std::uint64_t{count} << 8 |
               std::uint64_t{a} << 16 | std::uint64_t{b} << 32;
    }
};

// Words of one change that `set` carries.
inline constexpr std::size_t words_per_change = 3;

// Words that belong to an operation, behind it, and are none themselves.
[[nodiscard]] constexpr std::size_t words_of(const operation& o) noexcept
{
    switch (o.code) {
    case operation_code::set:
    case operation_code::set_tunnel:
        return o.count * words_per_change;
    case operation_code::ct:
        return o.b & 0xffff;
    case operation_code::count_group:
    case operation_code::count_rule:
    case operation_code::meter:
        return 1;
    case operation_code::choose:
    case operation_code::time_exceeded:
        return 2;
    default:
        return 0;
    }
}

// At how many places of the program a frame leaves at most.
[[nodiscard]] constexpr std::size_t most_exits(std::span<const std::uint64_t> program) noexcept
{
    std::size_t exits = 0;
    for (std::size_t i = 0; i < program.size();) {
        const operation o = operation::of(program[i++]);
        exits += o.code == operation_code::output || o.code == operation_code::output_cut ||
                 o.code == operation_code::normal || o.code == operation_code::flood;
        i += words_of(o);
        if (o.code == operation_code::choose) {
            std::size_t most = 0;
            for (const std::size_t end = i + o.b; i < end;) {
                const operation way = operation::of(program[i++]);
                most = std::max(most, most_exits(program.subspan(i, way.b)));
                i += way.b;
            }
            exits += most;
        }
    }
    return exits;
}

[[nodiscard]] constexpr bool leaves_more_than_once(std::span<const std::uint64_t> program) noexcept
{
    return most_exits(program) > 1;
}

} // namespace strait::flow
