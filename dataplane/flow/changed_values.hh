// SPDX-License-Identifier: BSD-3-Clause
// Which flows changes of rules may have concerned, by some bits of a word of their keys: for each
// range of values the last version in which something changed there, and of which value. A range is
// what a hash makes of it. Control writes, workers read; which bits, and when, is rule_changes.hh's
// business.
#pragma once

#include "dataplane/flow/flow_mask.hh"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace strait::flow {

class changed_values {
public:
    static constexpr unsigned range_bits = 12;

    // Of the bits of `mask` in a key's word `word`. Nothing changed after `since`.
    changed_values(std::uint8_t word, std::uint64_t mask, std::uint32_t since) noexcept
        : mask_{mask}, word_{word}, newest_{since}
    {
        for (auto& last : last_) {
            last.store(since, std::memory_order_relaxed);
        }
        for (range& r : ranges_) {
            r.before.store(since, std::memory_order_relaxed);
        }
    }

    [[nodiscard]] std::uint8_t word() const noexcept { return word_; }
    [[nodiscard]] std::uint64_t mask() const noexcept { return mask_; }

    // Packets that have these bits in their word are concerned; others of the range are, too, until
    // they have been looked at between this and the next that concerns another value of it.
    void note(std::uint64_t of_word, std::uint32_t version) noexcept
    {
        const std::uint64_t value = of_word & mask_;
        const std::size_t at = range_of(value);
        range& r = ranges_[at];
        if (r.value.load(std::memory_order_relaxed) != value) {
            // Who sees the value sees what was before it, and who sees the version sees the value.
            r.before.store(last_[at].load(std::memory_order_relaxed), std::memory_order_relaxed);
            r.value.store(value, std::memory_order_release);
        }
        last_[at].store(version, std::memory_order_release);
        newest_.store(version, std::memory_order_relaxed);
    }
    // Whether that was said after `version`, which is less than 2^31 versions ago.
    [[nodiscard]] bool after(std::uint32_t version, std::uint64_t of_word) const noexcept
    {
        // Of several kinds of changes mostly one goes on.
        if (!is_later(newest_.load(std::memory_order_relaxed), version)) {
            return false;
        }
        const std::uint64_t value = of_word & mask_;
        const std::size_t at = range_of(value);
        if (!is_later(last_[at].load(std::memory_order_acquire), version)) {
            return false;
        }
        const range& r = ranges_[at];
        return r.value.load(std::memory_order_acquire) == value ||
               is_later(r.before.load(std::memory_order_relaxed), version);
    }

private:
    [[nodiscard]] static bool is_later(std::uint32_t one, std::uint32_t than) noexcept
    {
        return static_cast<std::int32_t>(one - than) > 0;
    }
    [[nodiscard]] static std::size_t range_of(std::uint64_t value) noexcept
    {
        constexpr std::uint64_t any = 0x9fb21c651e98df25;
        return word_hash::fold(value, any) >> (64 - range_bits);
    }

    // All that changed after the version `before` had this value.
    struct range {
        std::atomic<std::uint64_t> value{0};
        std::atomic<std::uint32_t> before;
    };

    std::uint64_t mask_;
    std::uint8_t word_;
    std::atomic<std::uint32_t> newest_; // of all ranges
    // Apart from the ranges: workers look at these for nearly every packet, and seldom further.
    std::array<std::atomic<std::uint32_t>, std::size_t{1} << range_bits> last_;
    std::array<range, std::size_t{1} << range_bits> ranges_;
};

} // namespace strait::flow
