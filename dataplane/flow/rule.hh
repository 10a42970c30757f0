// SPDX-License-Identifier: BSD-3-Clause
// A rule of a flow table: what it matches, at which priority, what it does, and what it has done so
// far. Nothing changes but its counters. Which of several rules a packet meets is classifier.hh's
// business, when a rule goes control's.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/flow_mask.hh"

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

namespace strait::flow {

using priority_t = std::uint16_t;
// Time since the switch started.
using instant = std::chrono::milliseconds;

enum class rule_flags : std::uint8_t {
    none = 0,
    send_removed = 1,
    no_packet_counts = 2,
    no_byte_counts = 4,
};
[[nodiscard]] constexpr rule_flags operator|(rule_flags a, rule_flags b) noexcept
{
    return static_cast<rule_flags>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
[[nodiscard]] constexpr bool has(rule_flags all, rule_flags one) noexcept
{
    return (static_cast<unsigned>(all) & static_cast<unsigned>(one)) != 0;
}

// What an operator says of a rule besides its match and its actions.
struct rule_settings {
    std::uint64_t cookie{0};
    instant created{0};
    priority_t priority{32768};
    std::uint16_t idle_timeout{0}; // in seconds; 0: none
    std::uint16_t hard_timeout{0};
    std::uint16_t importance{0};
    table_id table{0};
    rule_flags flags{rule_flags::none};
};

class rule;
using rule_ptr = boost::intrusive_ptr<const rule>;

class rule : public boost::intrusive_ref_counter<rule, boost::thread_safe_counter> {
public:
    // Rules that do the same may share their actions; none: drop.
    [[nodiscard]] static rule_ptr make(const rule_settings& settings, const flow::match& match,
                                       std::shared_ptr<const action_list> actions);

    ~rule() = default;
    rule(const rule&) = delete;
    rule& operator=(const rule&) = delete;
    // Its size is not that of the type.
    static void operator delete(void* memory) noexcept { ::operator delete(memory); }

    [[nodiscard]] const rule_settings& settings() const noexcept { return settings_; }
    [[nodiscard]] priority_t priority() const noexcept { return settings_.priority; }
    [[nodiscard]] table_id table() const noexcept { return settings_.table; }
    [[nodiscard]] std::uint64_t cookie() const noexcept { return settings_.cookie; }
    [[nodiscard]] const action_list& actions() const noexcept { return *actions_; }
    [[nodiscard]] const std::shared_ptr<const action_list>& shared_actions() const noexcept
    {
        return actions_;
    }
    // Whether its actions are conjunctions: it does not match by itself.
    [[nodiscard]] bool is_conjunctive() const noexcept { return conjunctive_; }

    // Built at each call.
    [[nodiscard]] flow::match match() const noexcept;
    [[nodiscard]] const flow_mask& mask() const noexcept { return *mask_; }
    [[nodiscard]] const std::shared_ptr<const flow_mask>& shared_mask() const noexcept
    {
        return mask_;
    }
    // Of the words that the mask has, in its order.
    [[nodiscard]] std::span<const std::uint64_t> values() const noexcept
    {
        return {reinterpret_cast<const std::uint64_t*>(this + 1), mask_->parts().size()};
    }
    [[nodiscard]] bool matches(const key& k) const noexcept
    {
        std::uint64_t differs = 0;
        const std::uint64_t* value = values().data();
        for (const flow_mask::part& p : mask_->parts()) {
            differs |= (k.words[p.word] & p.bits) ^ *value++;
        }
        return differs == 0;
    }
    [[nodiscard]] bool same_match(const rule& other) const noexcept;
    // Whether there may be a packet that both match.
    [[nodiscard]] bool overlaps(const flow::match& other) const noexcept;
    // Whether all that it matches `other` matches too.
    [[nodiscard]] bool within(const flow::match& other) const noexcept;

    // Any thread. A worker adds up what a burst brought, or more.
    void count(std::uint64_t packets, std::uint64_t bytes, instant now) const noexcept;
    void prefetch_counters() const noexcept
    {
        __builtin_prefetch(&packets_, 1);
        __builtin_prefetch(&used_, 1);
    }
    [[nodiscard]] std::uint64_t packets() const noexcept { return packets_.load(relaxed); }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_.load(relaxed); }
    // When it was counted for last, or made.
    [[nodiscard]] instant last_used() const noexcept { return instant{used_.load(relaxed)}; }

private:
    static constexpr auto relaxed = std::memory_order_relaxed;

    rule(const rule_settings& settings, std::shared_ptr<const flow_mask> mask,
         std::shared_ptr<const action_list> actions) noexcept;

    bool conjunctive_;
    rule_settings settings_;
    std::shared_ptr<const flow_mask> mask_;
    std::shared_ptr<const action_list> actions_;
    mutable std::atomic<std::uint64_t> packets_{0};
    mutable std::atomic<std::uint64_t> bytes_{0};
    mutable std::atomic<instant::rep> used_;
    // The values follow.
};

} // namespace strait::flow
