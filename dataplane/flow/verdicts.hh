// SPDX-License-Identifier: BSD-3-Clause
// What one worker's flows do with the packets of a connection behind their first ct action, where
// nothing but the connection tells it (key_layout::told_by_connection): the second pass's entry in
// the cache, of either direction. Where of the connection nothing but its state and its protocol
// tells it, one verdict is all connections'. Exact: all that the entry was found by is compared.
// Connections whose addresses are translated are not here.
#pragma once

#include "dataplane/conntrack/known.hh"
#include "dataplane/flow/cache.hh"
#include "dataplane/flow/flow_mask.hh"
#include "dataplane/reserved_memory.hh"

#include <array>
#include <cstddef>
#include <cstdint>

namespace strait::flow {

class verdicts {
public:
    // What of a second pass is not the connection's tuple.
    struct circumstances {
        std::uint32_t in_port{0};
        std::uint32_t mark{0};
        table_id table{0};
        std::uint8_t bridge{0};
        std::uint8_t state{0};
        bool operator==(const circumstances&) const noexcept = default;
    };

    verdicts() : memory_{places * sizeof(verdict)} {}

    // Connections lie side by side, as those do that are known at a time: few pages are touched.
    void prefetch(conntrack::connection_id id) const noexcept { __builtin_prefetch(&place(id)); }
    // The flows that ask, and the pass's key_layout::widened. An entry that was found before that
    // may hold in them for other packets, which have none of the bits that they ask for beside, and
    // not for those that it was found for.
    struct versions {
        std::uint32_t now;
        std::uint32_t widened;

        [[nodiscard]] bool may_know(std::uint32_t found) const noexcept
        {
            return now - found <= now - widened;
        }
    };
    // Null: it is not known, or not any more.
    [[nodiscard]] cache::entry* find(const conntrack::known_connection& k, const circumstances& c,
                                     const versions& flows, const cache& in) const noexcept
    {
        const verdict& v = place(k.id);
        const verdict::way& w = v.ways[k.reply ? 1 : 0];
        if (v.original != k.of->original || w.with != c || !flows.may_know(w.version))
            [[unlikely]] {
            return nullptr;
        }
        return in.find(w.entry);
    }
    // `entry` was found among flows of this version.
    void put(const conntrack::known_connection& k, const circumstances& c, std::uint32_t version,
             cache::handle entry) noexcept
    {
        verdict& v = place(k.id);
        if (v.original != k.of->original) {
            v = {.original = k.of->original, .ways = {}};
        }
        v.ways[k.reply ? 1 : 0] = {c, version, entry};
    }

    // What connections have in common beside circumstances: their zone and their protocol.
    [[nodiscard]] static std::uint32_t kind_of(const conntrack::packed_tuple& t) noexcept
    {
        return static_cast<std::uint32_t>(t.rest >> 32);
    }
    // Of all connections of a kind.
    [[nodiscard]] cache::entry* find_common(std::uint32_t kind, const circumstances& c,
                                            const versions& flows, const cache& in) const noexcept
    {
        const common& v = common_[common_place(kind, c)];
        if (v.kind != kind || v.with != c || !flows.may_know(v.version)) [[unlikely]] {
            return nullptr;
        }
        return in.find(v.entry);
    }
    void put_common(std::uint32_t kind, const circumstances& c, std::uint32_t version,
                    cache::handle entry) noexcept
    {
        common_[common_place(kind, c)] = {c, kind, version, entry};
    }

private:
    struct alignas(64) verdict {
        struct way {
            circumstances with;
            std::uint32_t version{0};
            cache::handle entry;
        };
        conntrack::packed_tuple original; // as it comes, of no connection
        std::array<way, 2> ways;
    };
    static_assert(sizeof(verdict) == 64);
    static constexpr std::size_t places = std::size_t{1} << 18;
    struct alignas(32) common {
        circumstances with;
        std::uint32_t kind{0}; // no connection's
        std::uint32_t version{0};
        cache::handle entry;
    };
    // A hundred ports have some hundreds of circumstances; of those that share a place all but one
    // have a line of memory fetched for each packet that nobody has prefetched.
    static constexpr unsigned common_bits = 12;

    [[nodiscard]] static std::size_t common_place(std::uint32_t kind,
                                                  const circumstances& c) noexcept
    {
        constexpr std::uint64_t any = 0x9e37'79b9'7f4a'7c15;
        constexpr std::uint64_t other = 0x9fb2'1c65'1e98'df25;
        const std::uint64_t first = c.in_port | std::uint64_t{c.mark} << 32;
        const std::uint64_t second =
            kind ^ (std::uint64_t{c.table} << 32 | std::uint64_t{c.bridge} << 48 |
                    std::uint64_t{c.state} << 56);
        return word_hash::fold(first ^ any, second ^ other) >> (64 - common_bits);
    }

    // One that two connections want is the last one's.
    [[nodiscard]] verdict& place(conntrack::connection_id id) const noexcept
    {
        return reinterpret_cast<verdict*>(
            memory_.data())[static_cast<std::uint32_t>(id) & (places - 1)];
    }

    dataplane::reserved_memory memory_;
    // Two that want one place have a verdict for each connection beside it.
    std::array<common, std::size_t{1} << common_bits> common_{};
};

} // namespace strait::flow
