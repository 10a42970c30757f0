// SPDX-License-Identifier: BSD-3-Clause
// A group: buckets of actions, of which packets take all, one or the first that is live. Nothing of
// it changes but what it counts. What its actions come to is translate.hh's business, which ports
// are up liveness.hh's; how text becomes one is control/flow_group_text.hh's.
#pragma once

#include "dataplane/flow/action.hh"
#include "dataplane/flow/id_map.hh"
#include "dataplane/flow/rule.hh"
#include "dataplane/flow/tally.hh"

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace strait::flow {

inline constexpr std::uint32_t last_group = 0xffff'ff00;
inline constexpr std::uint32_t last_bucket = 0xffff'ff00;
inline constexpr std::size_t most_buckets = 256; // of one group
// Groups that lead into one another, the first one with them.
inline constexpr std::size_t deepest_groups = 16;

enum class group_type : std::uint8_t { all, select, indirect, fast_failover };

// Its actions are an action set, done to a copy of the packet.
struct bucket {
    std::uint32_t id{0};
    std::uint16_t weight{1}; // of `select`; 0: it is never taken
    // Of `select` and `fast_failover`: it is live while one of these is. Without, it always is.
    std::optional<port_number> watch_port;
    std::optional<std::uint32_t> watch_group;
    action_list actions;
    bool operator==(const bucket&) const = default;
};

// What a group of type `select` tells packets apart by.
struct selection {
    enum class method : std::uint8_t {
        usual,   // none was named
        dp_hash, // the same as none
        hash,    // by the fields, or without them as if none was named
    };
    struct part {
        field of;
        wide mask;
        bool operator==(const part&) const = default;
    };
    method by{method::usual};
    std::uint64_t parameter{0}; // of the hash
    std::vector<part> fields;
    bool operator==(const selection&) const = default;
};

struct group_settings {
    std::uint32_t id{0};
    group_type type{group_type::all};
    selection select;
    std::vector<bucket> buckets; // no two with one id
    bool operator==(const group_settings&) const = default;
};

class bucket_group : public boost::intrusive_ref_counter<bucket_group, boost::thread_safe_counter> {
public:
    static constexpr std::size_t no_bucket = ~std::size_t{0};

    // `before`: the one that it takes the place of, whose counts go on: its own, and those of
    // buckets that stay. Null: there is none.
    bucket_group(group_settings settings, instant created, std::size_t workers,
                 const bucket_group* before);

    [[nodiscard]] std::uint32_t id() const noexcept { return settings_.id; }
    [[nodiscard]] group_type type() const noexcept { return settings_.type; }
    [[nodiscard]] const group_settings& settings() const noexcept { return settings_; }
    [[nodiscard]] const std::vector<bucket>& buckets() const noexcept { return settings_.buckets; }
    [[nodiscard]] instant created() const noexcept { return created_; }

    // Whether packets take one of the buckets, found for each of them anew.
    [[nodiscard]] bool chooses() const noexcept
    {
        return type() == group_type::select || type() == group_type::fast_failover;
    }

    // Of a packet's key: in two parts, so that the one can be made for a flow, the other for each
    // packet. Both ends of a conversation have the same, if no fields are named; a datagram's
    // fragments, too.
    [[nodiscard]] std::uint64_t hash_of_metadata(const key& k) const noexcept;
    [[nodiscard]] std::uint64_t hash_of_headers(const key& k) const noexcept;
    [[nodiscard]] static std::uint64_t join(std::uint64_t metadata, std::uint64_t headers) noexcept;

    // The bucket that packets of a hash take; no_bucket: none is live. `is_live` is asked of a
    // bucket. When one dies, its packets alone go elsewhere, by the others' weights.
    template <typename Live>
    [[nodiscard]] std::size_t choose(std::uint64_t hash, Live&& is_live) const noexcept
    {
        if (type() == group_type::fast_failover) {
            for (std::size_t i = 0; i < buckets().size(); ++i) {
                if (is_live(buckets()[i])) {
                    return i;
                }
            }
            return no_bucket;
        }
        if (slots_.empty()) {
            return no_bucket;
        }
        constexpr int attempts = 8;
        for (int i = 0; i < attempts; ++i) {
            const std::size_t taken = slots_[slot_of(hash)];
            if (is_live(buckets()[taken])) {
                return taken;
            }
            hash = again(hash);
        }
        // Hardly any is.
        const std::size_t first = slot_of(hash);
        for (std::size_t i = 0; i < slots_.size(); ++i) {
            const std::size_t taken = slots_[(first + i) & (slots_.size() - 1)];
            if (is_live(buckets()[taken])) {
                return taken;
            }
        }
        return no_bucket;
    }
    [[nodiscard]] std::size_t slot_of(std::uint64_t hash) const noexcept
    {
        return (hash >> 32) & (slots_.size() - 1);
    }
    // Packets are spread over them evenly; each leads to a bucket.
    [[nodiscard]] std::size_t slots() const noexcept { return slots_.size(); }

    // A worker, of packets that take one bucket; no_bucket: all of them.
    void count(dataplane::worker_index worker, std::size_t taken,
               std::uint64_t bytes) const noexcept;
    [[nodiscard]] const tally& counted() const noexcept { return *counted_; }
    [[nodiscard]] const tally& counted(std::size_t of_bucket) const noexcept
    {
        return *bucket_counts_[of_bucket];
    }

private:
    [[nodiscard]] static std::uint64_t again(std::uint64_t hash) noexcept;
    void spread();

    group_settings settings_;
    instant created_;
    key mask_;                         // of the fields that were named
    std::vector<std::uint16_t> slots_; // a power of two; empty: no bucket has a weight
    std::shared_ptr<tally> counted_;
    std::vector<std::shared_ptr<tally>> bucket_counts_;
};
using group_ptr = boost::intrusive_ptr<const bucket_group>;
using group_map = id_map<bucket_group>;

// Calls `visit` for each group that actions name, those of actions within them, too.
template <typename Visit>
void for_each_group(const action_list& actions, const Visit& visit)
{
    for (const action& a : actions) {
        if (const auto* const g = std::get_if<group>(&a.is)) {
            visit(g->id);
        } else if (const auto* const copy = std::get_if<clone>(&a.is)) {
            for_each_group(copy->actions, visit);
        } else if (const auto* const later = std::get_if<write_actions>(&a.is)) {
            for_each_group(later->actions, visit);
        }
    }
}

} // namespace strait::flow
