// SPDX-License-Identifier: BSD-3-Clause
// Packets to mbufs and back: borrowed, owned, chained, with headers pushed and popped.
#include "tests/unit/dataplane/remote_guest.hh"

#include "dataplane/parse.hh"

#include <gtest/gtest.h>

#include <numeric>

namespace strait::test {
namespace {

using dataplane::burst;
using dataplane::packet_slot;

const std::string a = "02:00:00:00:00:0a";
const std::string b = "02:00:00:00:00:0b";

class packet : public ::testing::Test {
protected:
    static void SetUpTestSuite() { start_eal(); }
    void SetUp() override { pool_ = make_pool(512); }
    void TearDown() override { EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U); }

    // `f` in a chain whose segments have these lengths.
    rte_mbuf* chain(const frame& f, const std::vector<std::uint16_t>& lengths)
    {
        rte_mbuf* const first = alloc(pool_.get());
        rte_mbuf* last = first;
        std::size_t at = 0;
        for (const std::uint16_t n : lengths) {
            if (at > 0) {
                last->next = alloc(pool_.get());
                last = last->next;
                ++first->nb_segs;
            }
            std::copy_n(f.begin() + static_cast<std::ptrdiff_t>(at), n,
                        rte_pktmbuf_mtod(last, std::uint8_t*));
            last->data_len = n;
            at += n;
        }
        first->pkt_len = static_cast<std::uint32_t>(f.size());
        return first;
    }

    pool_ptr pool_;
    std::unique_ptr<burst> burst_{new burst};
};

TEST_F(packet, borrowed_becomes_an_equal_mbuf)
{
    for (const std::size_t length :
         {14UL, 60UL, 127UL, 128UL, 129UL, 1514UL, 2048UL, 2049UL, 4096UL, 9014UL, 65000UL}) {
        for (const std::size_t pieces : {1UL, 2UL, 7UL}) {
            const frame f = make_frame(b, a, length, 3);
            borrowed_packet p{f, pieces};
            rte_mbuf* const m = dataplane::own(p.get(), pool_.get());
            ASSERT_NE(m, nullptr);
            EXPECT_EQ(m->pkt_len, length);
            EXPECT_EQ(from_mbuf_chain(m), f) << length << " in " << pieces;
            EXPECT_EQ(bytes_of(p.get()), f) << "own() leaves the packet as it was";
            rte_mbuf_sanity_check(m, 1);
            for (const rte_mbuf* s = m; s != nullptr; s = s->next) {
                EXPECT_TRUE(RTE_MBUF_DIRECT(s)) << "of a guest's memory a device knows nothing";
                EXPECT_EQ(s->pool, pool_.get());
            }
            rte_pktmbuf_free(m);
        }
    }
}

TEST_F(packet, own_returns_nothing_and_leaks_nothing_when_the_pool_runs_dry)
{
    borrowed_packet p{make_frame(b, a, 9014)};
    std::vector<rte_mbuf*> taken;
    while (rte_mempool_avail_count(pool_.get()) > 3) { // 9,014 bytes take five
        taken.push_back(rte_pktmbuf_alloc(pool_.get()));
    }
    EXPECT_EQ(dataplane::own(p.get(), pool_.get()), nullptr);
    EXPECT_EQ(rte_mempool_avail_count(pool_.get()), 3U);
    rte_pktmbuf_free_bulk(taken.data(), static_cast<unsigned>(taken.size()));
}

TEST_F(packet, owned_gives_its_mbuf_at_the_last_destination_only)
{
    const frame f = make_frame(b, a, 3000, 1);
    rte_mbuf* const m = to_mbuf(f, pool_.get());
    packet_slot& p = burst_->slots[0];
    ASSERT_TRUE(dataplane::from_mbuf(p, m, *burst_));
    p.destinations = 2;
    rte_mbuf* const copy = dataplane::own(p, pool_.get());
    ASSERT_NE(copy, nullptr);
    EXPECT_NE(copy, m);
    EXPECT_EQ(from_mbuf_chain(copy), f);
    EXPECT_EQ(p.mbuf, m);
    p.destinations = 1;
    EXPECT_EQ(dataplane::own(p, pool_.get()), m);
    EXPECT_EQ(p.mbuf, nullptr);
    EXPECT_EQ(from_mbuf_chain(m), f);
    rte_pktmbuf_free(copy);
    rte_pktmbuf_free(m);
}

TEST_F(packet, the_mbuf_given_away_has_the_headers_the_packet_has)
{
    const frame plain = make_frame(b, a, 2500, 1);
    const frame tagged = with_tag(plain, 0x600a);
    packet_slot& p = burst_->slots[0];
    ASSERT_TRUE(dataplane::from_mbuf(p, to_mbuf(plain, pool_.get()), *burst_));
    p.destinations = 1;
    p.tags = 0;
    dataplane::push_tag(p, 0x600a);
    EXPECT_EQ(bytes_of(p), tagged);
    rte_mbuf* m = dataplane::own(p, pool_.get());
    EXPECT_EQ(m->pkt_len, tagged.size());
    EXPECT_EQ(from_mbuf_chain(m), tagged);

    burst_->clear();
    ASSERT_TRUE(dataplane::from_mbuf(p, m, *burst_));
    p.destinations = 1;
    p.tags = 1;
    dataplane::pop_tag(p);
    m = dataplane::own(p, pool_.get());
    EXPECT_EQ(from_mbuf_chain(m), plain);
    rte_mbuf_sanity_check(m, 1);
    rte_pktmbuf_free(m);
}

TEST_F(packet, headers_are_contiguous_whatever_the_chain)
{
    const frame f = make_frame(b, a, 1000, 4);
    for (const auto& lengths : std::vector<std::vector<std::uint16_t>>{{1000},
                                                                       {128, 872},
                                                                       {127, 873},
                                                                       {1, 999},
                                                                       {14, 50, 936},
                                                                       {500, 1, 1, 498},
                                                                       {10, 10, 10, 10, 10, 950}}) {
        burst_->clear();
        packet_slot& p = burst_->slots[0];
        ASSERT_TRUE(dataplane::from_mbuf(p, chain(f, lengths), *burst_));
        EXPECT_GE(p.head_length, dataplane::head_copy) << lengths.size();
        EXPECT_EQ(p.length, f.size());
        EXPECT_EQ(bytes_of(p), f);
        rte_pktmbuf_free(p.mbuf);
    }
    const frame tiny = make_frame(b, a, 20);
    burst_->clear();
    packet_slot& p = burst_->slots[0];
    ASSERT_TRUE(dataplane::from_mbuf(p, chain(tiny, {6, 6, 8}), *burst_));
    EXPECT_EQ(p.head_length, 20U);
    EXPECT_EQ(bytes_of(p), tiny);
    rte_pktmbuf_free(p.mbuf);
}

TEST_F(packet, a_chain_that_does_not_fit_the_burst_stays_the_callers)
{
    const frame f = make_frame(b, a, 600);
    rte_mbuf* const m = chain(f, {200, 200, 200});
    burst_->segments_used = burst::segment_capacity - 2;
    packet_slot& p = burst_->slots[0];
    p.mbuf = nullptr;
    EXPECT_FALSE(dataplane::from_mbuf(p, m, *burst_));
    EXPECT_EQ(p.mbuf, nullptr);
    burst_->clear();
    std::vector<std::uint16_t> many(burst::max_segments + 1, 1);
    many.front() = 200;
    rte_mbuf* const long_chain = chain(make_frame(b, a, 200 + burst::max_segments), many);
    EXPECT_FALSE(dataplane::from_mbuf(p, long_chain, *burst_));
    EXPECT_EQ(burst_->segments_used, 0U);
    rte_pktmbuf_free(m);
    rte_pktmbuf_free(long_chain);
}

TEST_F(packet, copy_frame_from_any_offset)
{
    const frame f = make_frame(b, a, 700, 9);
    borrowed_packet p{f, 5};
    for (const std::size_t offset : {0UL, 1UL, 100UL, 127UL, 128UL, 129UL, 240UL, 699UL, 700UL}) {
        for (const std::size_t size : {0UL, 1UL, 13UL, 128UL, 300UL, 700UL}) {
            if (offset + size > f.size()) {
                continue;
            }
            frame out(size + 8, 0xee);
            dataplane::copy_frame(p.get(), offset, out.data(), size);
            EXPECT_TRUE(std::equal(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size),
                                   f.begin() + static_cast<std::ptrdiff_t>(offset)));
            EXPECT_TRUE(std::all_of(out.end() - 8, out.end(), [](auto c) { return c == 0xee; }))
                << "wrote beyond " << size << " bytes";
        }
    }
}

TEST_F(packet, a_head_is_lengthened_with_what_lies_behind_it)
{
    for (const std::size_t length : {60U, 128U, 129U, 140U, 192U, 193U, 1000U}) {
        for (const std::size_t piece : {1U, 7U, 30U, 64U, 2000U}) {
            frame f = make_frame(b, a, length, 3);
            packet_slot& p = burst_->slots[0];
            burst_->clear();
            burst_->segments_used = 5; // another packet's
            p.data = p.head.data();
            p.length = static_cast<std::uint32_t>(length);
            p.head_length = static_cast<std::uint16_t>(std::min(length, dataplane::head_copy));
            std::memcpy(p.data, f.data(), p.head_length);
            p.segments = burst_->segments.data() + burst_->segments_used;
            p.segment_count = 0;
            p.mbuf = nullptr;
            p.remote = nullptr;
            for (std::size_t at = p.head_length; at < length; ++p.segment_count) {
                const std::size_t n = std::min(piece, length - at);
                burst_->segments[burst_->segments_used++] = {f.data() + at, n};
                at += n;
            }
            std::vector<dataplane::guest_span> before{burst_->segments.begin(),
                                                      burst_->segments.begin() + 5};
            dataplane::lengthen_head(p, *burst_);
            EXPECT_EQ(p.head_length, std::min(length, dataplane::longest_head));
            std::size_t left = 0;
            for (const auto& s : std::span{p.segments, p.segment_count}) {
                EXPECT_FALSE(s.empty());
                left += s.size();
            }
            EXPECT_EQ(p.head_length + left, length);
            EXPECT_EQ(bytes_of(p), f) << length << " in pieces of " << piece;
            dataplane::lengthen_head(p, *burst_);
            EXPECT_EQ(bytes_of(p), f) << "it is as long as it can be";
        }
    }
}

TEST_F(packet, a_head_is_made_longer_from_remote_payload)
{
    for (const std::size_t piece : {1U, 7U, 64U, 4096U}) {
        for (const std::size_t length : {60U, 128U, 129U, 191U, 192U, 193U, 600U}) {
            remote_guest guest;
            const frame f = make_frame(b, a, length, 3);
            remote_packet p{guest, f, piece};
            dataplane::lengthen_head(p.get(), *burst_);
            EXPECT_EQ(p.get().head_length, std::min(length, dataplane::longest_head));
            EXPECT_EQ(p.get().remote == nullptr, length <= dataplane::longest_head);
            EXPECT_EQ(bytes_of(p.get()), f) << length << " in pieces of " << piece;
            dataplane::packet* const list[] = {&p.get()};
            dataplane::localise(list, pool_.get());
            EXPECT_EQ(bytes_of(p.get()), f) << length << " in pieces of " << piece;
            rte_pktmbuf_free(p.get().mbuf);
        }
    }
    remote_guest guest;
    remote_packet p{guest, make_frame(b, a, 600, 3)};
    guest.take_back(p.reference(0));
    dataplane::lengthen_head(p.get(), *burst_);
    EXPECT_EQ(p.get().head_length, dataplane::head_copy);
    EXPECT_TRUE(p.payload().unreadable);
    EXPECT_TRUE(p.payload().uncounted) << "whoever it was to go to has to";
}

TEST_F(packet, many_heads_are_made_longer_in_one_call)
{
    remote_guest guest;
    const frame f = make_frame(b, a, 600, 3);
    remote_packet good{guest, f};
    remote_packet bad{guest, f};
    remote_packet other{guest, f};
    guest.take_back(bad.reference(0));
    dataplane::packet_slot* const list[] = {&good.get(), &bad.get(), &other.get()};
    dataplane::lengthen_heads(list, *burst_);
    EXPECT_EQ(guest.calls, 1U);
    for (remote_packet* const p : {&good, &other}) {
        EXPECT_EQ(p->get().head_length, dataplane::longest_head);
        EXPECT_EQ(bytes_of(p->get()), f);
        EXPECT_FALSE(p->payload().unreadable || p->payload().uncounted);
    }
    EXPECT_EQ(bad.get().head_length, dataplane::head_copy);
    EXPECT_TRUE(bad.payload().unreadable);
}

TEST_F(packet, a_head_in_an_mbuf_stays_as_long_as_it_is)
{
    const pool_ptr small = make_pool(64, 150);
    const frame f = make_frame(b, a, 600, 3);
    // On either side of the slot: an address tells nothing.
    for (dataplane::packet_slot* const p : {&burst_->slots[0], &burst_->slots[63]}) {
        burst_->clear();
        ASSERT_TRUE(dataplane::from_mbuf(*p, to_mbuf(f, small.get()), *burst_));
        const std::uint16_t before = p->head_length;
        EXPECT_LT(before, f.size());
        dataplane::lengthen_head(*p, *burst_);
        EXPECT_EQ(p->head_length, before);
        EXPECT_EQ(bytes_of(*p), f);
        rte_pktmbuf_free(p->mbuf);
    }
}

TEST_F(packet, tags_go_in_and_out_in_place)
{
    const frame plain = make_frame(b, a, 300, 2);
    borrowed_packet p{plain, 2};
    dataplane::push_tag(p.get(), 0xa005);
    EXPECT_EQ(bytes_of(p.get()), with_tag(plain, 0xa005));
    EXPECT_EQ(p.get().tagged, 1);
    EXPECT_EQ(p.get().tags, 1);
    dataplane::push_tag(p.get(), 7);
    EXPECT_EQ(bytes_of(p.get()), with_tag(with_tag(plain, 0xa005), 7));
    EXPECT_EQ(p.get().tags, 2);
    dataplane::pop_tag(p.get());
    dataplane::pop_tag(p.get());
    EXPECT_EQ(bytes_of(p.get()), plain);
    EXPECT_EQ(p.get().length, 300U);
    EXPECT_EQ(p.get().head_length, dataplane::head_copy);
}

TEST_F(packet, remote_payload_becomes_local_in_one_call)
{
    remote_guest guest;
    std::vector<frame> frames;
    std::vector<std::unique_ptr<remote_packet>> remote;
    std::vector<dataplane::packet*> list;
    borrowed_packet local{make_frame(b, a, 700)};
    list.push_back(&local.get());
    std::size_t i = 0;
    for (const std::size_t length :
         {60UL, 128UL, 129UL, 1514UL, 2048UL, 2049UL, 2200UL, 4000UL, 9014UL, 65557UL}) {
        frames.push_back(make_frame(b, a, length, static_cast<std::uint8_t>(length)));
        remote.push_back(std::make_unique<remote_packet>(guest, frames.back(), 900 + 331 * i++));
        remote.back()->get().offload.segment_size = 5;
        list.push_back(&remote.back()->get());
    }
    dataplane::localise(list, pool_.get());
    EXPECT_EQ(guest.calls, 1U);
    EXPECT_EQ(local.get().mbuf, nullptr);
    for (i = 0; i < frames.size(); ++i) {
        dataplane::packet& p = remote[i]->get();
        EXPECT_EQ(p.remote, nullptr);
        EXPECT_EQ(p.mbuf != nullptr, frames[i].size() > dataplane::head_copy);
        EXPECT_GE(p.head_length, std::min(frames[i].size(), dataplane::head_copy));
        EXPECT_EQ(p.length, frames[i].size());
        EXPECT_EQ(bytes_of(p), frames[i]) << frames[i].size();
        EXPECT_EQ(p.offload.segment_size, 5);
        if (p.mbuf == nullptr) {
            continue;
        }
        rte_mbuf_sanity_check(p.mbuf, 1);
        EXPECT_EQ(from_mbuf_chain(p.mbuf), frames[i]);
        p.tags = 0;
        dataplane::push_tag(p, 7); // there is room in front
        rte_mbuf* const m = dataplane::own(p, pool_.get());
        EXPECT_EQ(from_mbuf_chain(m), with_tag(frames[i], 7));
        rte_pktmbuf_free(m);
    }
    EXPECT_EQ(guest.calls, 1U);
}

TEST_F(packet, many_remote_pieces_are_copied_in_few_calls)
{
    remote_guest guest;
    const frame f = make_frame(b, a, 9014, 3);
    std::vector<std::unique_ptr<remote_packet>> remote;
    std::vector<dataplane::packet*> list;
    for (unsigned i = 0; i < burst::capacity; ++i) {
        remote.push_back(std::make_unique<remote_packet>(guest, f, 700));
        list.push_back(&remote.back()->get());
    }
    dataplane::localise(list, pool_.get());
    EXPECT_LE(guest.calls, 7U);
    for (dataplane::packet* const p : list) {
        ASSERT_EQ(bytes_of(*p), f);
        rte_pktmbuf_free(p->mbuf);
    }
}

// What was checked of a head is what goes on, whatever the guest's page says by then.
TEST_F(packet, the_head_is_not_read_again)
{
    remote_guest guest;
    const frame f = make_frame(b, a, 1500, 3);
    remote_packet p{guest, f};
    p.get().data[5] = std::byte{0x77};
    dataplane::packet* const list[] = {&p.get()};
    dataplane::localise(list, pool_.get());
    frame expected = f;
    expected[5] = 0x77;
    EXPECT_EQ(bytes_of(p.get()), expected);
    rte_pktmbuf_free(p.get().mbuf);
}

TEST_F(packet, a_grant_taken_back_costs_its_packet_only)
{
    remote_guest guest;
    const frame f = make_frame(b, a, 9014, 3);
    remote_packet good{guest, f};
    remote_packet bad{guest, f};
    remote_packet other{guest, f};
    guest.take_back(bad.reference(2));
    dataplane::packet* const list[] = {&good.get(), &bad.get(), &other.get()};
    dataplane::localise(list, pool_.get());
    EXPECT_EQ(bytes_of(good.get()), f);
    EXPECT_EQ(bytes_of(other.get()), f);
    EXPECT_EQ(bad.get().remote, &bad.payload());
    EXPECT_TRUE(bad.payload().unreadable);
    EXPECT_FALSE(good.payload().unreadable);
    EXPECT_EQ(bad.get().mbuf, nullptr);
    rte_pktmbuf_free(good.get().mbuf);
    rte_pktmbuf_free(other.get().mbuf);
    const unsigned calls = guest.calls;
    EXPECT_EQ(dataplane::own(bad.get(), pool_.get()), nullptr);
    EXPECT_EQ(guest.calls, calls) << "it is not tried again";
}

TEST_F(packet, remote_payload_stays_where_it_is_when_the_pool_runs_dry)
{
    remote_guest guest;
    remote_packet p{guest, make_frame(b, a, 9014)};
    std::vector<rte_mbuf*> taken;
    while (rte_mempool_avail_count(pool_.get()) > 3) { // 9,014 bytes take five
        taken.push_back(rte_pktmbuf_alloc(pool_.get()));
    }
    EXPECT_EQ(dataplane::own(p.get(), pool_.get()), nullptr);
    EXPECT_EQ(rte_mempool_avail_count(pool_.get()), 3U);
    EXPECT_NE(p.get().remote, nullptr);
    EXPECT_FALSE(p.payload().unreadable) << "its sender is not to blame";
    rte_pktmbuf_free_bulk(taken.data(), static_cast<unsigned>(taken.size()));
    rte_mbuf* const m = dataplane::own(p.get(), pool_.get());
    EXPECT_EQ(from_mbuf_chain(m), make_frame(b, a, 9014));
    rte_pktmbuf_free(m);
}

TEST_F(packet, own_copies_what_was_remote_for_all_but_the_last)
{
    remote_guest guest;
    const frame f = make_frame(b, a, 3000);
    remote_packet p{guest, f};
    p.get().destinations = 2;
    rte_mbuf* const copy = dataplane::own(p.get(), pool_.get());
    EXPECT_EQ(from_mbuf_chain(copy), f);
    EXPECT_NE(p.get().mbuf, nullptr);
    p.get().destinations = 1;
    rte_mbuf* const last = dataplane::own(p.get(), pool_.get());
    EXPECT_EQ(from_mbuf_chain(last), f);
    EXPECT_EQ(p.get().mbuf, nullptr);
    EXPECT_EQ(guest.calls, 1U);
    rte_pktmbuf_free(copy);
    rte_pktmbuf_free(last);
}

TEST_F(packet, copy_frame_reads_remote_payload)
{
    remote_guest guest;
    const frame f = make_frame(b, a, 3000, 9);
    remote_packet p{guest, f, 500};
    for (const std::size_t offset : {0UL, 1UL, 127UL, 128UL, 129UL, 627UL, 628UL, 2999UL}) {
        for (const std::size_t size : {1UL, 13UL, 128UL, 1300UL, 3000UL}) {
            if (offset + size > f.size()) {
                continue;
            }
            frame out(size, 0xee);
            EXPECT_TRUE(dataplane::copy_frame(p.get(), offset, out.data(), size));
            EXPECT_TRUE(std::equal(out.begin(), out.end(),
                                   f.begin() + static_cast<std::ptrdiff_t>(offset)));
        }
    }
    guest.take_back(p.reference(1));
    frame out(3000, 0xee);
    EXPECT_FALSE(dataplane::copy_frame(p.get(), 0, out.data(), out.size()));
    EXPECT_TRUE(p.payload().unreadable);
    EXPECT_TRUE(std::equal(out.begin(), out.begin() + 128, f.begin()));
    EXPECT_TRUE(std::all_of(out.begin() + 128, out.end(), [](auto c) { return c == 0; }));
    EXPECT_TRUE(dataplane::copy_frame(p.get(), 20, out.data(), 100)) << "the head is ours";
}

TEST_F(packet, a_clone_has_a_head_of_its_own_and_the_same_payload)
{
    for (const std::size_t length : {14U, 60U, 128U, 129U, 1514U, 9014U}) {
        const frame f = make_frame(b, a, length, 5);
        borrowed_packet original{f, 3};
        original.get().offload = {.checksum_start = 34, .required = dataplane::all_offloads};
        original.get().in_port = dataplane::port_index{7};
        burst_->clear();
        packet_slot* const clone = dataplane::clone_packet(original.get(), *burst_, pool_.get());
        ASSERT_EQ(clone, burst_->slots.data());
        EXPECT_EQ(burst_->count, 1U);
        EXPECT_EQ(bytes_of(*clone), f);
        EXPECT_EQ(clone->head_length, original.get().head_length);
        EXPECT_EQ(clone->in_port, dataplane::port_index{7});
        EXPECT_EQ(clone->offload.checksum_start, 34);
        EXPECT_EQ(clone->destinations, 0);
        clone->data[0] = std::byte{0xee};
        clone->data[13] = std::byte{0xee};
        EXPECT_EQ(bytes_of(original.get()), f);
        original.get().data[1] = std::byte{0xdd};
        EXPECT_EQ(clone->data[1], std::byte{f[1]});
        clone->tags = 0;
        dataplane::push_tag(*clone, 5);
        EXPECT_EQ(original.get().length, length);
    }
}

// What is lengthened takes spans from its payload: not those of the packet that it is a clone of.
TEST_F(packet, heads_of_clone_and_original_are_lengthened_each_for_itself)
{
    const frame f = make_frame(b, a, 700, 5);
    const auto others = std::make_unique<burst>();
    packet_slot& p = burst_->slots[0];
    p.data = p.head.data();
    p.length = 700;
    p.head_length = 128;
    std::copy_n(f.data(), 128, reinterpret_cast<std::uint8_t*>(p.data));
    frame payload{f.begin() + 128, f.end()};
    burst_->segments[0] = {payload.data(), 20};
    burst_->segments[1] = {payload.data() + 20, payload.size() - 20};
    burst_->segments_used = 2;
    p.segments = burst_->segments.data();
    p.segment_count = 2;
    p.mbuf = nullptr;
    p.remote = nullptr;
    packet_slot* const clone = dataplane::clone_packet(p, *others, pool_.get());
    ASSERT_NE(clone, nullptr);
    dataplane::lengthen_head(*clone, *others);
    EXPECT_EQ(clone->head_length, dataplane::longest_head);
    EXPECT_EQ(bytes_of(*clone), f);
    EXPECT_EQ(bytes_of(p), f);
    dataplane::lengthen_head(p, *burst_);
    EXPECT_EQ(bytes_of(*clone), f);
    EXPECT_EQ(bytes_of(p), f);
}

TEST_F(packet, an_mbuf_that_a_clone_shares_is_not_given_away)
{
    for (const std::size_t length : {100U, 300U, 1514U, 5000U}) { // the head is all the first mbuf
        const frame f = make_frame(b, a, length, 5);
        burst_->clear();
        const auto others = std::make_unique<burst>();
        packet_slot& p = burst_->slots[0];
        rte_mbuf* const m = to_mbuf(f, pool_.get());
        ASSERT_TRUE(dataplane::from_mbuf(p, m, *burst_));
        packet_slot* const clone = dataplane::clone_packet(p, *others, pool_.get());
        ASSERT_NE(clone, nullptr);
        EXPECT_LE(clone->head_length, dataplane::longest_head + dataplane::head_room / 2);
        EXPECT_EQ(clone->mbuf, nullptr);
        ++p.destinations; // it has one, the last
        rte_mbuf* const sent = dataplane::own(p, pool_.get());
        ASSERT_NE(sent, nullptr);
        EXPECT_NE(sent, m);
        EXPECT_EQ(p.mbuf, m);
        EXPECT_EQ(from_mbuf_chain(sent), f);
        rte_pktmbuf_free(sent);
        clone->data[0] = std::byte{0xee};
        ++clone->destinations;
        rte_mbuf* const changed = dataplane::own(*clone, pool_.get());
        frame expected = f;
        expected[0] = 0xee;
        EXPECT_EQ(from_mbuf_chain(changed), expected);
        EXPECT_EQ(bytes_of(p), f);
        rte_pktmbuf_free(changed);
        rte_pktmbuf_free(m);
    }
}

TEST_F(packet, a_clone_has_all_that_was_pushed_and_room_for_more)
{
    const frame f = make_frame(b, a, 1514, 5);
    borrowed_packet original{f};
    dataplane::packet& p = original.get();
    for (unsigned i = 0; i < 20; ++i) { // 80 bytes
        dataplane::push_tag(p, 5);
    }
    const frame pushed = bytes_of(p);
    packet_slot* const clone = dataplane::clone_packet(p, *burst_, pool_.get());
    ASSERT_NE(clone, nullptr);
    EXPECT_EQ(clone->head_length, p.head_length);
    EXPECT_EQ(bytes_of(*clone), pushed);
    EXPECT_GE(clone->data - clone->room.data(), 64);
    for (unsigned i = 0; i < 16; ++i) {
        dataplane::push_tag(*clone, 6);
    }
    EXPECT_EQ(clone->length, f.size() + 36 * 4);
    EXPECT_EQ(bytes_of(p), pushed);
}

TEST_F(packet, a_clone_of_a_remote_packet_is_local_and_so_is_the_packet)
{
    remote_guest guest;
    const frame f = make_frame(b, a, 3000, 9);
    remote_packet original{guest, f, 500};
    original.get().destinations = 0;
    packet_slot* const clone = dataplane::clone_packet(original.get(), *burst_, pool_.get());
    ASSERT_NE(clone, nullptr);
    EXPECT_EQ(clone->remote, nullptr);
    EXPECT_EQ(original.get().remote, nullptr);
    EXPECT_EQ(guest.calls, 1U);
    EXPECT_EQ(bytes_of(*clone), f);
    rte_mbuf* const mbuf = original.get().mbuf;
    ASSERT_NE(mbuf, nullptr);
    ++original.get().destinations;
    rte_mbuf* const sent = dataplane::own(original.get(), pool_.get());
    EXPECT_NE(sent, mbuf);
    EXPECT_EQ(from_mbuf_chain(sent), f);
    rte_pktmbuf_free(sent);
    EXPECT_EQ(bytes_of(*clone), f);
    rte_pktmbuf_free(mbuf);

    remote_packet gone{guest, f, 500};
    guest.take_back(gone.reference(1));
    EXPECT_EQ(dataplane::clone_packet(gone.get(), *burst_, pool_.get()), nullptr);
    EXPECT_TRUE(gone.payload().unreadable);
    EXPECT_EQ(burst_->count, 1U);
}

TEST_F(packet, there_is_no_clone_without_room_in_the_burst)
{
    borrowed_packet original{make_frame(b, a, 1514), 3};
    burst_->segments_used = burst::segment_capacity - 2;
    EXPECT_EQ(dataplane::clone_packet(original.get(), *burst_, pool_.get()), nullptr);
    burst_->segments_used = burst::segment_capacity - 3;
    EXPECT_NE(dataplane::clone_packet(original.get(), *burst_, pool_.get()), nullptr);
    burst_->clear();
    burst_->count = burst::capacity;
    EXPECT_EQ(dataplane::clone_packet(original.get(), *burst_, pool_.get()), nullptr);
    EXPECT_EQ(original.get().destinations, 2U) << "those that were not made need nothing";
}

} // namespace
} // namespace strait::test
