// SPDX-License-Identifier: BSD-3-Clause
// Which flows changes of rules may have concerned, by some bits of a word of their keys: for each
// range of values the last version in which something changed there. A range is what a hash makes
// of it. Control writes, workers read; which bits, and when, is rule_changes.hh's business.
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
    }

    [[nodiscard]] std::uint8_t word() const noexcept { return word_; }
    [[nodiscard]] std::uint64_t mask() const noexcept { return mask_; }

    // Packets that have these bits in their word are concerned. Others of the range are, too.
    void note(std::uint64_t of_word, std::uint32_t version) noexcept
    {
        last_[range_of(of_word)].store(version, std::memory_order_relaxed);
        newest_.store(version, std::memory_order_relaxed);
    }
    // Whether that was said after `version`, which is less than 2^31 versions ago.
    [[nodiscard]] bool after(std::uint32_t version, std::uint64_t of_word) const noexcept
    {
        // Of several kinds of changes mostly one goes on.
        if (!is_later(newest_.load(std::memory_order_relaxed), version)) {
            return false;
        }
        return is_later(last_[range_of(of_word)].load(std::memory_order_relaxed), version);
    }

private:
    [[nodiscard]] static bool is_later(std::uint32_t one, std::uint32_t than) noexcept
    {
        return static_cast<std::int32_t>(one - than) > 0;
    }
    [[nodiscard]] std::size_t range_of(std::uint64_t of_word) const noexcept
    {
        constexpr std::uint64_t any = 0x9fb21c651e98df25;
        return word_hash::fold(of_word & mask_, any) >> (64 - range_bits);
    }

    std::uint64_t mask_;
    std::uint8_t word_;
    std::atomic<std::uint32_t> newest_; // of all ranges
    std::array<std::atomic<std::uint32_t>, std::size_t{1} << range_bits> last_;
};

} // namespace strait::flow
