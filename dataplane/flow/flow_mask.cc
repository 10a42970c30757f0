// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/flow_mask.hh"

#include <algorithm>
#include <bit>
#include <mutex>
#include <random>
#include <unordered_map>

namespace strait::flow {

namespace {

std::vector<flow_mask::part> parts_of(const key& mask, const key& without)
{
    std::vector<flow_mask::part> out;
    for (std::size_t i = 0; i < key_words; ++i) {
        if (const std::uint64_t bits = mask.words[i] & ~without.words[i]; bits != 0) {
            out.push_back({bits, static_cast<std::uint8_t>(i)});
        }
    }
    return out;
}

// The same in every process, unlike word_hash.
std::uint64_t rank_of(std::span<const flow_mask::part> parts) noexcept
{
    constexpr std::uint64_t golden = 0x9e3779b97f4a7c15;
    constexpr unsigned hashed_bits = 36;
    std::uint64_t bits = 0;
    std::uint64_t hash = golden;
    for (const flow_mask::part& p : parts) {
        bits += static_cast<unsigned>(std::popcount(p.bits));
        hash = word_hash::fold(hash ^ p.bits, golden + p.word);
    }
    return bits << hashed_bits | hash >> (64 - hashed_bits);
}

// The masks that somebody has.
class mask_registry {
public:
    std::shared_ptr<const flow_mask> find(const key& mask)
    {
        std::vector<flow_mask::part> parts = parts_of(mask, key{});
        const std::uint64_t rank = rank_of(parts);
        const std::lock_guard lock{mutex_};
        const auto [first, last] = masks_.equal_range(rank);
        for (auto i = first; i != last; ++i) {
            if (auto known = i->second.lock(); known && std::ranges::equal(known->parts(), parts)) {
                return known;
            }
        }
        forget_unused();
        auto made = std::make_shared<const flow_mask>(std::move(parts));
        masks_.emplace(rank, made);
        return made;
    }

private:
    // Looks at all of them each time that there are twice as many as were left.
    void forget_unused()
    {
        if (masks_.size() < limit_) {
            return;
        }
        std::erase_if(masks_, [](const auto& entry) { return entry.second.expired(); });
        limit_ = std::max(least_limit, 2 * masks_.size());
    }

    static constexpr std::size_t least_limit = 64;
    std::mutex mutex_;
    std::unordered_multimap<std::uint64_t, std::weak_ptr<const flow_mask>> masks_;
    std::size_t limit_{least_limit};
};

} // namespace

const std::array<std::uint64_t, key_words + 2> word_hash::seeds_ = [] {
    std::array<std::uint64_t, key_words + 2> out{};
    std::random_device random;
    for (std::uint64_t& seed : out) {
        seed = std::uint64_t{random()} << 32 | random();
    }
    return out;
}();

std::shared_ptr<const flow_mask> flow_mask::of(const key& mask)
{
    static mask_registry registry;
    return registry.find(mask);
}

flow_mask::flow_mask(std::vector<part> parts) : parts_{std::move(parts)}, rank_{rank_of(parts_)}
{
    steady_ = parts_of(whole(), varying_fields());
    varies_ = steady_ != parts_;
    if (!varies_) {
        steady_ = {};
    }
    parts_.shrink_to_fit();
    steady_.shrink_to_fit();
}

key flow_mask::whole() const noexcept
{
    key out;
    add_to(out);
    return out;
}

std::uint64_t flow_mask::hash_of(std::span<const std::uint64_t> values) noexcept
{
    word_hash out;
    for (std::size_t i = 0; i < values.size(); i += 2) {
        out.add(values[i], i + 1 < values.size() ? values[i + 1] : 0, i);
    }
    return out.value();
}

std::uint64_t flow_mask::hash(std::span<const part> parts, const key& k) noexcept
{
    word_hash out;
    const auto word = [&](std::size_t i) {
        return i < parts.size() ? k.words[parts[i].word] & parts[i].bits : 0;
    };
    for (std::size_t i = 0; i < parts.size(); i += 2) {
        out.add(word(i), word(i + 1), i);
    }
    return out.value();
}

} // namespace strait::flow
