// SPDX-License-Identifier: BSD-3-Clause
// Hashes, and the spreading of slots over buckets.
#include "dataplane/flow/group.hh"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace strait::flow {

namespace {

// What extract.hh sets.
constexpr std::size_t first_header_word = place_of(field::eth_dst).word;
constexpr std::size_t behind_headers = place_of(field::metadata).word;

// Odd numbers without a pattern; the same in each run, so that a restart moves no conversation.
constexpr std::uint64_t odd_number(std::size_t i) noexcept
{
    constexpr std::uint64_t golden = 0x9e37'79b9'7f4a'7c15;
    std::uint64_t x = (i + 1) * golden;
    x = (x ^ (x >> 30)) * 0xbf58'476d'1ce4'e5b9;
    x = (x ^ (x >> 27)) * 0x94d0'49bb'1331'11eb;
    return (x ^ (x >> 31)) | 1;
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept
{
    return word_hash::fold(a ^ odd_number(0), b ^ odd_number(1));
}

// Of the words of a key from `first` to before `end`, under a mask.
std::uint64_t hash_words(const key& k, const key& mask, std::size_t first, std::size_t end) noexcept
{
    std::uint64_t sum = 0;
    for (std::size_t i = first; i < end; ++i) {
        if (mask.words[i] != 0) {
            sum ^= word_hash::fold((k.words[i] & mask.words[i]) ^ odd_number(2 * i),
                                   odd_number(2 * i + 1));
        }
    }
    return sum;
}

// The same whichever of the two ends sent it.
std::uint64_t hash_of_conversation(const key& k, bool ports) noexcept
{
    const std::uint64_t type = k.number(field::eth_type);
    const auto end = [](wide address, std::uint64_t port) noexcept {
        return mix(address.high ^ port << 48, address.low);
    };
    constexpr std::uint64_t ip = 0x0800;
    constexpr std::uint64_t ipv6 = 0x86dd;
    const std::uint64_t from_port = ports ? k.number(field::tp_src) : 0;
    const std::uint64_t to_port = ports ? k.number(field::tp_dst) : 0;
    if (type == ip) {
        return mix(end(k.get(field::nw_src), from_port) + end(k.get(field::nw_dst), to_port),
                   type << 8 | k.number(field::nw_proto));
    }
    if (type == ipv6) {
        return mix(end(k.get(field::ipv6_src), from_port) + end(k.get(field::ipv6_dst), to_port),
                   type << 8 | k.number(field::nw_proto));
    }
    return mix(end(k.get(field::eth_src), 0) + end(k.get(field::eth_dst), 0),
               type << 16 | k.number(field::vlan_tci));
}

// How much a slot would like to be a bucket's: the one with the highest has the slot with a
// probability as its weight (rendezvous hashing), whatever others there are.
double liking(std::size_t slot, const bucket& b) noexcept
{
    constexpr double range = 9007199254740992.0; // 2^53
    constexpr unsigned spare_bits = 11;
    const std::uint64_t h = mix(mix(slot, b.id), odd_number(2));
    const double u = (static_cast<double>(h >> spare_bits) + 1) / (range + 1);
    return static_cast<double>(b.weight) / -std::log(u);
}

// How many of `slots` each bucket has: as its weight, to within one (largest remainders).
std::vector<std::size_t> shares(const std::vector<bucket>& buckets, std::size_t slots)
{
    std::uint64_t total = 0;
    for (const bucket& b : buckets) {
        total += b.weight;
    }
    std::vector<std::size_t> out;
    std::vector<std::pair<std::uint64_t, std::size_t>> remainders;
    std::size_t left = slots;
    for (std::size_t i = 0; i < buckets.size(); ++i) {
        const std::uint64_t part = slots * std::uint64_t{buckets[i].weight};
        // One that has a weight is not left out.
        const std::size_t whole =
            std::max<std::size_t>(part / total, buckets[i].weight == 0 ? 0 : 1);
        out.push_back(whole);
        left -= std::min(left, whole);
        remainders.emplace_back(part % total, i);
    }
    std::ranges::stable_sort(remainders, std::greater{},
                             &std::pair<std::uint64_t, std::size_t>::first);
    for (std::size_t i = 0; left > 0; i = (i + 1) % remainders.size()) {
        if (buckets[remainders[i].second].weight != 0) {
            ++out[remainders[i].second];
            --left;
        }
    }
    return out;
}

} // namespace

bucket_group::bucket_group(group_settings settings, instant created, std::size_t workers,
                           const bucket_group* before)
    : settings_{std::move(settings)},
      created_{before == nullptr ? created : before->created_},
      counted_{before == nullptr ? std::make_shared<tally>(workers) : before->counted_}
{
    for (const selection::part& p : settings_.select.fields) {
        mask_.set(p.of, ~wide{}, p.mask);
    }
    for (const bucket& b : buckets()) {
        std::shared_ptr<tally> kept;
        for (std::size_t i = 0; before != nullptr && i < before->buckets().size(); ++i) {
            if (before->buckets()[i] == b) {
                kept = before->bucket_counts_[i];
            }
        }
        bucket_counts_.push_back(kept ? kept : std::make_shared<tally>(workers));
    }
    if (type() == group_type::select) {
        spread();
    }
}

std::uint64_t bucket_group::hash_of_metadata(const key& k) const noexcept
{
    return settings_.select.parameter * odd_number(3) ^ hash_words(k, mask_, 0, first_header_word) ^
           hash_words(k, mask_, behind_headers, key_words);
}

std::uint64_t bucket_group::hash_of_headers(const key& k) const noexcept
{
    // A datagram's later fragments have no ports, and are to go where the first one went.
    const bool fragment = (k.number(field::nw_frag) & frag_any) != 0;
    if (settings_.select.fields.empty()) {
        return hash_of_conversation(k, !fragment);
    }
    if (!fragment) {
        return hash_words(k, mask_, first_header_word, behind_headers);
    }
    key without = k;
    without.set(field::tp_src, 0);
    without.set(field::tp_dst, 0);
    return hash_words(without, mask_, first_header_word, behind_headers);
}

std::uint64_t bucket_group::join(std::uint64_t metadata, std::uint64_t headers) noexcept
{
    return mix(metadata, headers);
}

std::uint64_t bucket_group::again(std::uint64_t hash) noexcept
{
    return mix(hash, odd_number(4));
}

// Each slot goes to the bucket that it likes best of those that have not their share yet: a change
// of buckets moves hardly more slots than it must.
void bucket_group::spread()
{
    constexpr std::size_t fewest = 256;
    constexpr std::size_t for_each_bucket = 16;
    const bool any = std::ranges::any_of(buckets(), [](const bucket& b) { return b.weight != 0; });
    if (!any) {
        return;
    }
    const std::size_t count = std::bit_ceil(std::max(fewest, for_each_bucket * buckets().size()));
    std::vector<std::size_t> left = shares(buckets(), count);
    slots_.resize(count);
    for (std::size_t slot = 0; slot < count; ++slot) {
        double best = -1;
        for (std::size_t i = 0; i < buckets().size(); ++i) {
            if (left[i] > 0) {
                if (const double l = liking(slot, buckets()[i]); l > best) {
                    best = l;
                    slots_[slot] = static_cast<std::uint16_t>(i);
                }
            }
        }
        --left[slots_[slot]];
    }
}

void bucket_group::count(dataplane::worker_index worker, std::size_t taken,
                         std::uint64_t bytes) const noexcept
{
    counted_->count(worker, 1, bytes);
    if (taken != no_bucket) {
        bucket_counts_[taken]->count(worker, 1, bytes);
        return;
    }
    for (const auto& c : bucket_counts_) {
        c->count(worker, 1, bytes);
    }
}

} // namespace strait::flow
