// SPDX-License-Identifier: BSD-3-Clause
// Packets to tunnel and LOCAL ports: what is left undone is finished before it is wrapped, what
// goes elsewhere too stays as it is, what waits is bounded and comes out again, and no mbuf is
// lost.
#include "dataplane/tunnel/options.hh"
#include "tests/unit/dataplane/tunnel/carrier_lab.hh"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include <rte_mbuf.h>

namespace strait::tunnel {
namespace {

TEST_F(carrier_of_vxlan, fills_the_checksum_that_a_guest_left)
{
    know(1);
    for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
        for (const bool ipv6 : {false, true}) {
            const test::ip_frame f{.ipv6 = ipv6, .protocol = protocol, .payload = 300};
            packet_slot& p = put(f.build(true));
            ASSERT_EQ(infer_offload(p, true, segmentation::none, 0), offload_fault::none);
            const auto all = take(p, vxlan);
            ASSERT_EQ(all.size(), 1U);
            EXPECT_EQ(all[0].from, local);
            EXPECT_EQ(inner_of(all[0].bytes), f.build(false));
        }
    }
}

TEST_F(carrier_of_vxlan, wraps_each_segment_of_its_own)
{
    know(1);
    const test::ip_frame f{.payload = 9000};
    packet_slot& p = put(f.build(true));
    constexpr std::uint16_t size = 100;
    ASSERT_EQ(infer_offload(p, true, segmentation::tcp_ipv4, size), offload_fault::none);
    const auto all = take(p, vxlan);
    ASSERT_EQ(all.size(), 90U);
    std::uint32_t sequence = f.sequence;
    for (const out& o : all) {
        EXPECT_EQ(o.from, local);
        const frame inner = inner_of(o.bytes);
        EXPECT_TRUE(f.correct(inner));
        EXPECT_EQ(test::get32(inner, f.transport() + 4), sequence);
        sequence += size;
        EXPECT_EQ(test::get16(o.bytes, 16), o.bytes.size() - 14);           // the outer IP length
        EXPECT_EQ(test::get16(o.bytes, 34), test::get16(all[0].bytes, 34)); // one flow
    }
    EXPECT_EQ(counters_[0].tx_packets.read(), 90U);
}

TEST_F(carrier_of_vxlan, wraps_each_datagram_of_its_own)
{
    know(1);
    for (const bool ipv6 : {false, true}) {
        for (const std::vector<std::uint16_t>& tags : {std::vector<std::uint16_t>{}, {0x8100}}) {
            const test::ip_frame f{
                .tags = tags, .ipv6 = ipv6, .protocol = protocol_udp, .payload = 3950};
            packet_slot& p = put(f.build(true));
            constexpr std::uint16_t size = 100;
            ASSERT_EQ(infer_offload(p, true, segmentation::udp, size), offload_fault::none);
            const auto all = take(p, vxlan);
            ASSERT_EQ(all.size(), 40U);
            for (std::size_t i = 0; i < all.size(); ++i) {
                const frame inner = inner_of(all[i].bytes);
                EXPECT_TRUE(f.correct(inner)) << i;
                EXPECT_EQ(inner.size() - f.header_length(), i == 39 ? 50U : 100U);
                if (!ipv6) {
                    EXPECT_EQ(test::get16(inner, f.network() + 4), (f.identifier + i) & 0xffff);
                }
                EXPECT_EQ(test::get16(all[i].bytes, 34), test::get16(all[0].bytes, 34));
            }
        }
    }
}

TEST_F(carrier_of_vxlan, what_goes_elsewhere_too_stays_as_it_is)
{
    know(1);
    const frame f = test::ip_frame{.payload = 400}.build(false);
    packet_slot& p = put(f);
    p.destinations = 2;
    const auto all = take(p, vxlan);
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(inner_of(all[0].bytes), f);
    EXPECT_EQ(p.length, f.size());
    EXPECT_EQ(std::memcmp(p.data, f.data(), p.head_length), 0);
}

TEST_F(carrier_of_vxlan, what_has_no_room_in_front_is_copied)
{
    know(1);
    const frame f = test::ip_frame{.payload = 30}.build(false);
    for (const std::size_t room : {0U, 65U, 66U}) {
        packet_slot& p = put(f);
        std::byte* const at = p.room.data() + room;
        std::memmove(at, p.data, p.head_length);
        p.data = at;
        const auto all = take(p, vxlan);
        ASSERT_EQ(all.size(), 1U) << room;
        EXPECT_EQ(inner_of(all[0].bytes), f);
        EXPECT_EQ(p.length == f.size(), room < 66U); // or it is the one that went
    }
}

TEST_F(carrier_of_vxlan, mbufs_are_wrapped_where_they_are_or_copied)
{
    know(1);
    const frame f = test::ip_frame{.payload = 1200}.build(false);
    for (const bool elsewhere : {false, true}) {
        burst_->clear();
        packet_slot& p = burst_->slots[burst_->count++];
        rte_mbuf* const m = test::to_mbuf(f, pool_.get());
        ASSERT_TRUE(from_mbuf(p, m, *burst_));
        p.destinations = elsewhere ? 2 : 1;
        p.note = 0;
        const auto all = take(p, vxlan);
        ASSERT_EQ(all.size(), 1U);
        EXPECT_EQ(inner_of(all[0].bytes), f);
        rte_pktmbuf_free(m);
    }
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
}

TEST_F(carrier_of_vxlan, senders_of_segments_that_are_too_big_are_told)
{
    know(1);
    const test::ip_frame f{.payload = 9000};
    frame blank = f.build(true);
    blank[f.network() + 12] = blank[f.network() + 16] = 10; // hosts' addresses
    for (const std::uint16_t size :
         {std::uint16_t{1398}, std::uint16_t{1399}}) { // 1450 less IPv4 and TCP with its options
        packet_slot& p = put(blank);
        ASSERT_EQ(infer_offload(p, true, segmentation::tcp_ipv4, size), offload_fault::none);
        const auto all = take(p, vxlan);
        ASSERT_FALSE(all.empty());
        const bool fits = size == 1398;
        EXPECT_EQ(all[0].from, fits ? local : vxlan) << size;
        EXPECT_EQ(dropped(drop_reason::tunnel_too_big), fits ? 0U : 1U);
    }
}

TEST_F(carrier_of_vxlan, senders_are_told_so_often_and_no_more)
{
    know(1);
    frame big = test::ip_frame{.payload = 2000}.build(false);
    const test::ip_frame f{};
    big[f.network() + 12] = big[f.network() + 16] = 10; // hosts' addresses
    tsc_ = 1000 * hz;
    constexpr std::size_t more = 3;
    std::size_t told = 0;
    for (std::size_t i = 0; i < endpoint::error_limit::at_once + more; ++i) {
        told += take(put(big), vxlan).size();
    }
    EXPECT_EQ(told, endpoint::error_limit::at_once);
    EXPECT_EQ(dropped(drop_reason::tunnel_too_big), endpoint::error_limit::at_once + more);
}

TEST_F(carrier_of_vxlan, packets_wait_within_bounds)
{
    const frame f = test::ip_frame{.payload = 100}.build(false);
    const std::size_t bound = carrier::most_waiting_for_one;
    std::size_t questions = 0;
    for (std::size_t i = 0; i < bound + 3; ++i) {
        for (const out& o : take(put(f), vxlan, 5)) {
            EXPECT_EQ(o.bytes.size(), 60U); // ARP
            ++questions;
        }
    }
    EXPECT_EQ(questions, 1U);
    EXPECT_EQ(dropped(drop_reason::neighbour_queue_full), 3U);
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), bound);
    EXPECT_FALSE(carrier_.idle());
    EXPECT_FALSE(carrier_.due(2));
    know(5);
    EXPECT_TRUE(carrier_.due(2));
    const auto all = look(2, 5);
    ASSERT_EQ(all.size(), bound);
    for (const out& o : all) {
        EXPECT_EQ(inner_of(o.bytes), f);
        EXPECT_EQ(std::memcmp(o.bytes.data(), far_mac.bytes().data(), 6), 0);
    }
    EXPECT_TRUE(carrier_.idle());
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
    EXPECT_EQ(counters_[0].tx_packets.read(), bound);
}

TEST_F(carrier_of_vxlan, packets_that_waited_have_the_queue_that_flows_chose)
{
    packet_slot& p = put(test::ip_frame{.payload = 100}.build(false));
    p.note = packet_note::with_queue(77, 5);
    const auto question = take(p, vxlan, 5);
    ASSERT_EQ(question.size(), 1U);
    EXPECT_EQ(question[0].note, 0U);
    know(5);
    const auto all = look(2, 5);
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0].note, packet_note::with_queue(0, 5));
}

TEST_F(carrier_of_vxlan, packets_do_not_wait_for_ever)
{
    const frame f = test::ip_frame{.payload = 100}.build(false);
    (void)take(put(f), vxlan, 5);
    EXPECT_TRUE(carrier_.due(1 + hz));
    EXPECT_EQ(look(1 + hz, 6).size(), 1U); // asked again
    EXPECT_FALSE(carrier_.idle());
    (void)look(1 + carrier::patience * hz, 7);
    EXPECT_TRUE(carrier_.idle());
    EXPECT_EQ(dropped(drop_reason::neighbour_unresolved), 1U);
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
}

TEST_F(carrier_of_vxlan, packets_do_not_outlive_their_port_or_their_address)
{
    const frame f = test::ip_frame{.payload = 100}.build(false);
    (void)take(put(f), vxlan, 5);
    auto reused = std::make_shared<port_config>(*config_.port(vxlan));
    reused->incarnation = 9;
    const auto before = config_.ports[0];
    config_.ports[0] = reused;
    (void)look(2, 5);
    EXPECT_EQ(dropped(drop_reason::port_removed), 1U);
    config_.ports[0] = before;
    (void)take(put(f), vxlan, 6);
    config_.endpoint = nullptr;
    (void)look(2, 6);
    EXPECT_EQ(dropped(drop_reason::tunnel_no_route), 1U);
    (void)take(put(f), vxlan, 6);
    EXPECT_EQ(dropped(drop_reason::tunnel_no_route), 2U);
    EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
}

TEST_F(carrier_of_vxlan, what_comes_back_is_what_went)
{
    know(1);
    const frame f = test::ip_frame{.payload = 1000}.build(false);
    auto all = take(put(f), vxlan);
    ASSERT_EQ(all.size(), 1U);
    frame outer = all[0].bytes;
    // From the far end: addresses changed over, which IPv4's checksum does not mind.
    std::swap_ranges(outer.begin() + 26, outer.begin() + 30, outer.begin() + 30);
    std::memcpy(outer.data(), own_mac.bytes().data(), 6);
    all = take(put(outer), local);
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0].from, vxlan);
    EXPECT_EQ(all[0].bytes, f);
    EXPECT_EQ(counters_[1].tx_packets.read(), 1U);
}

// Flows of the tunnel's bridge know one option that must be understood, and others.
class carrier_of_geneve : public carrier_of_vxlan {
protected:
    static constexpr std::size_t header = 14 + 20 + 8 + 8; // without options

    carrier_of_geneve()
    {
        auto s = std::make_shared<settings>(*config_.port(vxlan)->tunnel);
        s->what = kind::geneve;
        s->destination_port = geneve_port;
        auto port = std::make_shared<port_config>(*config_.port(vxlan));
        port->tunnel = s;
        config_.ports[0] = port;
        auto tunnels = std::make_shared<table>();
        tunnels->add(*s, vxlan);
        config_.tunnels = tunnels;
        know({{.option_class = 0x102, .type = 0x80, .length = 4, .index = 0},
              {.option_class = 0x102, .type = 1, .length = 8, .index = 1}});
        carrier_of_vxlan::know(1);
    }
    void know(const std::vector<flow::option>& options)
    {
        auto known = std::make_shared<flow::option_map>();
        for (const flow::option& o : options) {
            EXPECT_TRUE(known->add(o));
        }
        auto bridge = std::make_shared<bridge_config>();
        bridge->options = known;
        config_.bridges = {bridge};
    }
    // As many as flows can have: eight of eight bytes.
    void know_most()
    {
        std::vector<flow::option> all;
        for (std::uint8_t i = 0; i < 8; ++i) {
            all.push_back({.option_class = 7, .type = i, .length = 8, .index = i});
        }
        know(all);
    }
    const flow::option_map& known() { return *config_.bridges[0]->options; }

    // With all options that are known, each word of them its own number.
    std::uint16_t note_of_all()
    {
        notes::option_values values{};
        for (const flow::option& o : known().all()) {
            values.present |= o.present_bit().low;
            for (std::size_t i = 0; i < o.word_count(); ++i) {
                const std::uint64_t value = 0x0101'0101'0101'0101 * (o.index + i + 1);
                values.data[o.words[i]] = value & flow::wide::ones(o.bits_at(i)).low;
            }
        }
        return carrier_.notes().add(notes::words{}, values);
    }
    frame options_of(const out& o, std::size_t size) const
    {
        EXPECT_EQ(o.bytes[header - 8], size / 4);
        return {o.bytes.begin() + header,
                o.bytes.begin() + static_cast<std::ptrdiff_t>(header + size)};
    }
    // As the far end sends it back.
    static frame turned(frame outer)
    {
        std::swap_ranges(outer.begin() + 26, outer.begin() + 30, outer.begin() + 30);
        std::memcpy(outer.data(), own_mac.bytes().data(), 6);
        return outer;
    }
};

TEST_F(carrier_of_geneve, has_the_options_that_flows_set_in_its_header)
{
    const frame f = test::ip_frame{.payload = 100}.build(false);
    packet_slot& p = put(f);
    p.note = note_of_all();
    const auto all = take(p, vxlan);
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(options_of(all[0], 20),
              (frame{1, 2, 0x80, 1, 1, 1, 1, 1, 1, 2, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2}));
    EXPECT_EQ(all[0].bytes[header - 7], 0x40) << "one must be understood";
    EXPECT_EQ((frame{all[0].bytes.begin() + header + 20, all[0].bytes.end()}), f);
    EXPECT_EQ(test::get16(all[0].bytes, 16), all[0].bytes.size() - 14);
    EXPECT_EQ(test::get16(all[0].bytes, 38), all[0].bytes.size() - 34);
    // A packet that flows set none of.
    const auto plain = take(put(f), vxlan);
    ASSERT_EQ(plain.size(), 1U);
    EXPECT_EQ(plain[0].bytes.size(), header + f.size());
    EXPECT_EQ(plain[0].bytes[header - 8], 0);
    EXPECT_EQ(plain[0].bytes[header - 7], 0);
}

TEST_F(carrier_of_geneve, tells_flows_the_options_that_it_is_sent)
{
    const frame f = test::ip_frame{.payload = 100}.build(false);
    packet_slot& p = put(f);
    const std::uint16_t note = note_of_all();
    p.note = note;
    const auto went = take(p, vxlan);
    ASSERT_EQ(went.size(), 1U);
    const auto back = take(put(turned(went[0].bytes)), local);
    ASSERT_EQ(back.size(), 1U);
    EXPECT_EQ(back[0].bytes, f);
    ASSERT_TRUE(carrier_.notes().has_options(back[0].note));
    EXPECT_EQ(carrier_.notes().options_of(back[0].note), carrier_.notes().options_of(note));
    // And what it does not know: one of them must be understood.
    know({{.option_class = 0x102, .type = 1, .length = 8, .index = 1}});
    EXPECT_TRUE(take(put(turned(went[0].bytes)), local).empty());
    EXPECT_EQ(dropped(drop_reason::tunnel_option, local), 1U);
    know({{.option_class = 0x102, .type = 0x80, .length = 4, .index = 9}});
    const auto some = take(put(turned(went[0].bytes)), local);
    ASSERT_EQ(some.size(), 1U);
    EXPECT_EQ(carrier_.notes().options_of(some[0].note).present, 1U);
    know({{.option_class = 0x102, .type = 0x80, .length = 4, .index = 0},
          {.option_class = 0x102, .type = 1, .length = 4, .index = 1}});
    EXPECT_TRUE(take(put(turned(went[0].bytes)), local).empty()) << "of another length";
    EXPECT_EQ(dropped(drop_reason::tunnel_option, local), 2U);
}

TEST_F(carrier_of_geneve, finds_room_for_all_options_that_flows_can_have)
{
    know_most();
    for (const std::size_t payload : {0U, 10U, 60U, 400U}) {
        for (const std::uint16_t destinations : {std::uint16_t{1}, std::uint16_t{2}}) {
            const frame f = test::ip_frame{.payload = payload}.build(false);
            packet_slot& p = put(f);
            p.note = note_of_all();
            p.destinations = destinations;
            const auto all = take(p, vxlan);
            ASSERT_EQ(all.size(), 1U);
            ASSERT_EQ(all[0].bytes.size(), header + most_set_options + f.size());
            EXPECT_EQ((frame{all[0].bytes.begin() + header + most_set_options, all[0].bytes.end()}),
                      f);
        }
    }
}

TEST_F(carrier_of_geneve, gives_each_segment_the_options_of_the_whole)
{
    know_most();
    const test::ip_frame f{.tags = {0x8100}, .payload = 9000};
    packet_slot& p = put(f.build(true));
    p.note = note_of_all();
    constexpr std::uint16_t size = 100;
    ASSERT_EQ(infer_offload(p, true, segmentation::tcp_ipv4, size), offload_fault::none);
    const auto all = take(p, vxlan);
    ASSERT_EQ(all.size(), 90U);
    for (const out& o : all) {
        EXPECT_EQ(options_of(o, most_set_options), options_of(all[0], most_set_options));
        EXPECT_TRUE(f.correct({o.bytes.begin() + header + most_set_options, o.bytes.end()}));
    }
}

TEST_F(carrier_of_geneve, counts_options_in_what_fits)
{
    const std::size_t most = 1500 - header - 20; // the inner IP packet
    for (const std::size_t size : {most, most + 1}) {
        test::ip_frame f;
        f.payload = 0;
        f.payload = size + 14 - f.size();
        packet_slot& p = put(f.build(false));
        p.note = note_of_all();
        (void)take(p, vxlan);
        EXPECT_EQ(dropped(drop_reason::tunnel_too_big), size > most ? 1U : 0U) << size;
    }
}

} // namespace
} // namespace strait::tunnel
