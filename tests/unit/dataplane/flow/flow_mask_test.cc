// SPDX-License-Identifier: BSD-3-Clause
// Masks without their empty words, and hashes of what keys have under them.
#include "dataplane/flow/flow_mask.hh"

#include "tests/unit/dataplane/flow/rule_sets.hh"

#include <gtest/gtest.h>

#include <set>

namespace strait::flow {
namespace {

key mask_of(std::initializer_list<field> fields)
{
    key out;
    for (const field f : fields) {
        out.set(f, ~wide{});
    }
    return out;
}

TEST(flow_mask, is_one_object_for_equal_masks)
{
    const key mask = mask_of({field::nw_src, field::tp_dst});
    const auto one = flow_mask::of(mask);
    EXPECT_EQ(flow_mask::of(mask), one);
    EXPECT_NE(flow_mask::of(mask_of({field::nw_src})), one);
    EXPECT_EQ(one->whole(), mask);
}

TEST(flow_mask, is_forgotten_once_nobody_has_it)
{
    const std::weak_ptr<const flow_mask> gone = flow_mask::of(mask_of({field::reg7}));
    EXPECT_TRUE(gone.expired());
    // So many that those not in use are looked for, while one that is in use stays the one.
    const auto kept = flow_mask::of(mask_of({field::reg6}));
    for (std::uint64_t i = 1; i <= 1000; ++i) {
        key mask;
        mask.set(field::xreg4, i, i);
        EXPECT_EQ(flow_mask::of(mask)->whole(), mask);
    }
    EXPECT_EQ(flow_mask::of(mask_of({field::reg6})), kept);
}

TEST(flow_mask, tells_what_varies_inside_a_flow_from_the_rest)
{
    const auto plain = flow_mask::of(mask_of({field::nw_src, field::tp_dst}));
    EXPECT_FALSE(plain->varies());
    EXPECT_EQ(plain->steady().size(), plain->parts().size());

    const auto all = flow_mask::of(
        mask_of({field::nw_proto, field::tcp_flags, field::nw_ttl, field::nw_tos, field::tp_dst}));
    EXPECT_TRUE(all->varies());
    key steady;
    all->add_steady_to(steady);
    key expected = mask_of({field::nw_proto, field::nw_tos, field::tp_dst});
    expected.set(field::nw_tos, wide{}, wide{3});
    EXPECT_EQ(steady, expected) << "DSCP stays, ECN varies";

    const auto only = flow_mask::of(mask_of({field::packet_length}));
    EXPECT_TRUE(only->varies());
    EXPECT_TRUE(only->steady().empty());
}

TEST(flow_mask, covers_what_asks_for_less)
{
    const key mask = mask_of({field::nw_src, field::ipv6_dst});
    EXPECT_TRUE(covers(mask, key{}));
    EXPECT_TRUE(covers(mask, mask_of({field::ipv6_dst})));
    EXPECT_TRUE(covers(mask, mask));
    EXPECT_FALSE(covers(mask, mask_of({field::nw_src, field::nw_dst})));
}

TEST(flow_mask, ranks_the_mask_of_more_bits_higher)
{
    test::dice d{1};
    std::set<std::uint64_t> ranks;
    std::set<const flow_mask*> masks;
    std::vector<std::shared_ptr<const flow_mask>> kept;
    const auto bits = [](const flow_mask& m) {
        int out = 0;
        for (const auto& part : m.parts()) {
            out += std::popcount(part.bits);
        }
        return out;
    };
    for (unsigned i = 0; i < 2000; ++i) {
        const auto a = flow_mask::of(d.any_match(5).mask);
        const auto b = flow_mask::of(d.any_match(5).mask);
        kept.insert(kept.end(), {a, b});
        ranks.insert({a->rank(), b->rank()});
        masks.insert({a.get(), b.get()});
        if (bits(*a) > bits(*b)) {
            EXPECT_GT(a->rank(), b->rank());
        }
        EXPECT_LT(a->rank(), std::uint64_t{1} << hash_bits);
    }
    EXPECT_EQ(ranks.size(), masks.size());
    EXPECT_GT(masks.size(), 100U);
}

TEST(flow_mask, hashes_keys_and_the_values_of_rules_alike)
{
    test::dice d{2};
    std::set<std::uint64_t> hashes;
    std::set<std::vector<std::uint64_t>> different;
    const auto mask = flow_mask::of(
        mask_of({field::eth_dst, field::nw_src, field::tp_dst, field::reg3, field::tun_id}));
    for (unsigned i = 0; i < 2000; ++i) {
        key k = d.noise();
        std::vector<std::uint64_t> values;
        for (const auto& part : mask->parts()) {
            values.push_back(k.words[part.word] & part.bits);
        }
        const std::uint64_t hash = mask->hash(k);
        EXPECT_LT(hash, std::uint64_t{1} << hash_bits);
        EXPECT_EQ(flow_mask::hash_of(values), hash);
        k.set(field::nw_dst, 7);
        EXPECT_EQ(mask->hash(k), hash) << "nothing outside of the mask";
        hashes.insert(hash);
        different.insert(values);
    }
    EXPECT_EQ(hashes.size(), different.size());
}

} // namespace
} // namespace strait::flow
