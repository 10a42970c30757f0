// SPDX-License-Identifier: BSD-3-Clause
// Finds what happens to a packet: goes through a bridge's tables with its key and writes down a
// program, and what of the packet that hangs on beside its flow's key. Knows no packet and no
// queue; a trace watches it.
#pragma once

#include "dataplane/drop_reason.hh"
#include "dataplane/flow/pipeline.hh"
#include "dataplane/flow/program.hh"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace strait::flow {

// What must hold of a packet for its flow's entry to be its own: of fields that vary in a flow.
struct tests {
    std::uint64_t mask{0}; // of varying_word
    std::uint64_t value{0};
    std::uint16_t shortest{0}; // of the frame, in bytes
    std::uint16_t longest{0xffff};
    std::uint16_t lowest_ttl{0};
    std::uint16_t highest_ttl{0xff};

    [[nodiscard]] bool hold(std::uint64_t varying, std::uint32_t length) const noexcept
    {
        const auto ttl = static_cast<std::uint8_t>(varying >> place_of(field::nw_ttl).shift);
        return (varying & mask) == value && length >= shortest && length <= longest &&
               ttl >= lowest_ttl && ttl <= highest_ttl;
    }
    [[nodiscard]] bool empty() const noexcept
    {
        return mask == 0 && shortest == 0 && longest == 0xffff && lowest_ttl == 0 &&
               highest_ttl == 0xff;
    }
};

// A packet that would need more than any of these is dropped: flow_too_complex.
inline constexpr std::size_t max_depth = 64;       // tables gone through and not come back from
inline constexpr std::size_t max_resubmits = 4096; // tables gone through in all
inline constexpr std::size_t max_program = 1024;   // words
inline constexpr std::size_t max_rules = 512;      // different or not
inline constexpr std::size_t max_stack = 64;       // fields pushed
inline constexpr std::size_t max_actions = 16384;  // done, of all rules

struct translation {
    std::size_t program_words{0};
    std::array<std::uint64_t, max_program> program;
    std::size_t rule_count{0};
    std::array<const rule*, max_rules> rules; // that were met, in order
    flow::tests tests;
    dataplane::drop_reason reason{}; // of a program without words

    [[nodiscard]] std::span<const std::uint64_t> words() const noexcept
    {
        return {program.data(), program_words};
    }
    [[nodiscard]] std::span<const rule* const> met() const noexcept
    {
        return {rules.data(), rule_count};
    }
};

// Is told of every step, on the thread that translates.
class observer {
public:
    virtual ~observer() = default;
    virtual void looked_up(table_id table, const rule* found, const key& with) = 0;
    virtual void does(const action& what) = 0;
    virtual void came_back() = 0; // from the table looked up last and not come back from
    virtual void begins(const bucket_group& /*of*/, const bucket& /*one*/) {}
    virtual void ends_bucket() {}
    virtual void says(std::string_view sentence) = 0;
};

// Where a pass begins: the first one so; behind a ct action, in the table and with the stack and
// the action set that it was given, as words of a ct_operation.
struct pass_start {
    table_id table{0};
    std::span<const std::uint64_t> stack; // two each
    std::span<const std::uint64_t> set;   // addresses of actions
};

// `packet` is its key as it is when the pass begins: what its headers say, in_port, and behind a ct
// action the registers and what is known of its connection. Any thread that may read the pipeline.
void translate(const pipeline& flows, const key& packet, translation& out,
               observer* watching = nullptr, const pass_start& begin = {}) noexcept;

} // namespace strait::flow
