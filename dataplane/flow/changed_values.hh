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
        : mask_{mask}, word_{word}
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
    }
    // Whether that was said after `version`, which is less than 2^31 versions ago.
    [[nodiscard]] bool after(std::uint32_t version, std::uint64_t of_word) const noexcept
    {
        const std::uint32_t last = last_[range_of(of_word)].load(std::memory_order_relaxed);
        return static_cast<std::int32_t>(last - version) > 0;
    }

private:
    [[nodiscard]] std::size_t range_of(std::uint64_t of_word) const noexcept
    {
        constexpr std::uint64_t any = 0x9fb21c651e98df25;
        return word_hash::fold(of_word & mask_, any) >> (64 - range_bits);
    }

    std::uint64_t mask_;
    std::uint8_t word_;
    std::array<std::atomic<std::uint32_t>, std::size_t{1} << range_bits> last_;
};

} // namespace strait::flow
