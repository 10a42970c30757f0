// SPDX-License-Identifier: BSD-3-Clause
// All bits of a set of masks, which come and go.
#pragma once

#include "dataplane/flow/flow_mask.hh"
#include "dataplane/flow/own.hh"

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace strait::flow {

// Copies share the counts.
class mask_union {
public:
    [[nodiscard]] const key& bits() const noexcept { return bits_; }

    void add(const flow_mask& mask)
    {
        counts& of = own(counts_);
        for_each_bit(mask, [&](std::size_t word, unsigned bit) {
            if (of.masks[word][bit]++ == 0) {
                bits_.words[word] |= std::uint64_t{1} << bit;
            }
        });
    }
    // One that was added.
    void remove(const flow_mask& mask)
    {
        counts& of = own(counts_);
        for_each_bit(mask, [&](std::size_t word, unsigned bit) {
            if (--of.masks[word][bit] == 0) {
                bits_.words[word] &= ~(std::uint64_t{1} << bit);
            }
        });
    }

private:
    // How many masks have a bit.
    struct counts : boost::intrusive_ref_counter<counts, boost::thread_safe_counter> {
        std::array<std::array<std::uint32_t, 64>, key_words> masks{};
    };

    template <typename Visit>
    static void for_each_bit(const flow_mask& mask, const Visit& visit)
    {
        for (const flow_mask::part& p : mask.parts()) {
            for (std::uint64_t left = p.bits; left != 0; left &= left - 1) {
                visit(p.word, static_cast<unsigned>(std::countr_zero(left)));
            }
        }
    }

    key bits_;
    boost::intrusive_ptr<counts> counts_;
};

} // namespace strait::flow
