// SPDX-License-Identifier: BSD-3-Clause
// The tuples of a table as a lookup goes through them: by their highest rules, with what it takes
// to pass over one that has nothing for a packet side by side. Blocks of them are shared by copies
// of the list; who owns the tuples is classifier.hh's business.
#pragma once

#include "dataplane/flow/hash_filter.hh"
#include "dataplane/flow/tuple.hh"

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace strait::flow {

// The mask of a tuple, and a filter of the hashes that its rules have, as long as they are few.
struct alignas(64) probe {
    static constexpr std::size_t inline_parts = 6;

    order_t order;
    std::array<std::uint8_t, inline_parts> words;
    std::uint8_t parts; // in all; the others are in the tuple's mask
    std::array<std::uint64_t, inline_parts> bits;
    std::array<std::uint64_t, 8> filter;

    explicit probe(const tuple& of);
    probe() noexcept = default;

    [[nodiscard]] std::uint64_t hash(const key& k, const tuple& of) const noexcept
    {
        if (parts > inline_parts) [[unlikely]] {
            return of.mask().hash(k);
        }
        word_hash out;
        for (std::size_t i = 0; i < parts; i += 2) {
            out.add(k.words[words[i]] & bits[i], k.words[words[i + 1]] & bits[i + 1], i);
        }
        return out.value();
    }
    [[nodiscard]] bool may_have(std::uint64_t hash) const noexcept
    {
        const std::uint64_t needed = filter_bits(hash);
        return (filter[filter_word(hash, filter.size())] & needed) == needed;
    }
    void add(std::uint64_t hash) noexcept
    {
        filter[filter_word(hash, filter.size())] |= filter_bits(hash);
    }
    void refilter(const tuple& of) noexcept;
};

class probe_list {
public:
    static constexpr std::size_t block_size = 32;
    struct alignas(64) block : boost::intrusive_ref_counter<block, boost::thread_safe_counter> {
        std::size_t count{0};
        std::array<const tuple*, block_size> of{};
        std::array<probe, block_size> probes{};
        key steady; // all bits of its masks, those of varying ones without what varies
        std::uint32_t varying{0}; // a bit for each probe whose mask has something that varies

        block() noexcept = default;
        void insert(std::size_t at, const tuple& t, const probe& p) noexcept;
        void erase(std::size_t at) noexcept;
        void refresh() noexcept;
    };

    // Of tuples that have rules.
    void insert(const tuple& t);
    // A tuple that had this order has changed, and may be elsewhere now. With the hash of the rule
    // that was added, if one was.
    void update(order_t before, const tuple& t, std::optional<std::uint64_t> added);
    void erase(order_t order, const flow_mask& mask);

    [[nodiscard]] std::span<const boost::intrusive_ptr<block>> blocks() const noexcept
    {
        return directory_ ? std::span<const boost::intrusive_ptr<block>>{directory_->blocks}
                          : std::span<const boost::intrusive_ptr<block>>{};
    }
    // Adds what a lookup that ended before the probe `end` of the block `last` has looked at.
    void consult(const key& k, std::size_t last, std::size_t end, key& consulted) const noexcept;

private:
    struct directory : boost::intrusive_ref_counter<directory, boost::thread_safe_counter> {
        std::vector<boost::intrusive_ptr<block>> blocks;
    };
    struct place {
        std::size_t block;
        std::size_t index;
    };
    [[nodiscard]] place first_of(order_t order) const noexcept;
    [[nodiscard]] place find(order_t order, const flow_mask& mask) const noexcept;
    [[nodiscard]] directory& own_directory();
    [[nodiscard]] block& own_block(std::size_t at);
    void split(std::size_t at);

    boost::intrusive_ptr<directory> directory_; // null: no tuple yet
};

} // namespace strait::flow
