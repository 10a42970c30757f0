// SPDX-License-Identifier: BSD-3-Clause
// Says of a hash that it is surely not among those added (Bloom's filter, with two bits in one
// word, so that an answer is one load). Copies share their words until one is added to.
#pragma once

#include "dataplane/flow/own.hh"

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace strait::flow {

// What of a 48-bit hash is where in a filter of a power of two of words, 2^14 at most. The map that
// a filter is for (hamt.hh) goes by the hash's lower bits.
[[nodiscard]] constexpr std::size_t filter_word(std::uint64_t hash, std::size_t words) noexcept
{
    return hash >> 34 & (words - 1);
}
[[nodiscard]] constexpr std::uint64_t filter_bits(std::uint64_t hash) noexcept
{
    return std::uint64_t{1} << (hash >> 28 & 63) | std::uint64_t{1} << (hash >> 22 & 63);
}

class hash_filter {
public:
    static constexpr std::size_t most = std::size_t{1} << 16; // hashes

    hash_filter() noexcept = default; // has all hashes
    // For `hashes` of them and half as many more, `most` in all.
    explicit hash_filter(std::size_t hashes)
        : words_{
              new storage{std::bit_ceil(hashes + hashes / 2 + hashes_a_word - 1) / hashes_a_word}}
    {}

    // False once no more should be added, for it would hardly tell anything.
    [[nodiscard]] bool has_room() const noexcept
    {
        return words_ && words_->added < words_->words.size() * hashes_a_word;
    }
    void add(std::uint64_t hash)
    {
        storage& s = own(words_);
        ++s.added;
        s.words[filter_word(hash, s.words.size())] |= filter_bits(hash);
    }
    [[nodiscard]] bool may_have(std::uint64_t hash) const noexcept
    {
        if (!words_) {
            return true;
        }
        const std::uint64_t bits = filter_bits(hash);
        return (words_->words[filter_word(hash, words_->words.size())] & bits) == bits;
    }

private:
    static constexpr std::size_t hashes_a_word = 4;
    struct storage : boost::intrusive_ref_counter<storage, boost::thread_safe_counter> {
        storage() = default;
        explicit storage(std::size_t count) : words(count) {}
        std::size_t added{0};
        std::vector<std::uint64_t> words;
    };
    boost::intrusive_ptr<storage> words_;
};

} // namespace strait::flow
