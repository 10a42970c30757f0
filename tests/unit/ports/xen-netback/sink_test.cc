// SPDX-License-Identifier: BSD-3-Clause
// What goes into a guest's receive ring: where the bytes lie, what stands beside them, and what
// becomes of frames that cannot be delivered, whoever is at fault.
#include "tests/unit/dataplane/ip_frame.hh"
#include "tests/unit/ports/xen-netback/ring_lab.hh"

#include "dataplane/offload.hh"
#include "ports/xen-netback/fault.hh"

#include <gmock/gmock.h>

#include <random>

namespace strait::xen::test {
namespace {

using dataplane::drop_reason;
using dataplane::segmentation;
using simulated::effect;
using simulated::fault_rule;
using simulated::grant_status;
using simulated::operation;
using strait::test::borrowed_packet;
using strait::test::ip_frame;
using testing::Each;
using testing::ElementsAre;

frame a_frame(std::size_t size, std::uint8_t seed = 1)
{
    return make_frame("00:16:3e:00:00:01", "00:16:3e:00:00:02", size, seed);
}

class sink_test : public testing::Test {
protected:
    lab lab_;
    std::unique_ptr<simulated::simulated_hypervisor> hypervisor_{lab_.hypervisor()};
    wired_guest guest_{lab_, *hypervisor_};

    void fail_copies(domain_id of, std::uint64_t skip, std::uint64_t count)
    {
        simulated::faults f;
        f.rules.push_back({.on = operation::copy,
                           .what = effect::fail,
                           .domain = of,
                           .skip = skip,
                           .count = count});
        hypervisor_->set_faults(f);
    }
    [[nodiscard]] netif::rx_response response_at(std::uint32_t at)
    {
        netif::rx_response r{};
        std::memcpy(&r, guest_.front().rx().slot(at), sizeof r);
        return r;
    }
};

TEST_F(sink_test, a_frame_is_delivered)
{
    guest_.transmit({a_frame(60)});
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(60)));
    EXPECT_EQ(guest_.in().position(), 1U);
    EXPECT_EQ(guest_.worker().counters.tx_packets.read(), 1U);
    EXPECT_EQ(guest_.worker().counters.tx_bytes.read(), 60U);
    EXPECT_EQ(guest_.worker().all_drops(), 0U);
}

TEST_F(sink_test, frames_of_every_size_are_delivered_byte_for_byte)
{
    for (const std::size_t size :
         std::initializer_list<std::size_t>{14U, 60U, 127U, 128U, 129U, 1514U, 4095U, 4096U, 4097U,
                                            8192U, 8193U, 9018U, 65534U, 65535U}) {
        guest_.transmit({a_frame(size)});
        const auto got = guest_.take();
        ASSERT_EQ(got.size(), 1U) << size;
        EXPECT_EQ(got.front().bytes, a_frame(size));
        EXPECT_EQ(got.front().about.slots, (size + page_size - 1) / page_size);
    }
    EXPECT_TRUE(guest_.front().violation().empty()) << guest_.front().violation();
}

TEST_F(sink_test, payload_in_many_pieces_is_delivered)
{
    std::mt19937 random{3}; // NOLINT(cert-msc51-cpp): the same each time
    for (int i = 0; i < 200; ++i) {
        const frame f = a_frame(200 + random() % 60'000, static_cast<std::uint8_t>(i));
        auto p = strait::test::split_packet::random(f, 128, random);
        dataplane::packet* const list[] = {&p.get()};
        guest_.transmit(list);
        ASSERT_THAT(guest_.take_frames(), ElementsAre(f));
    }
}

TEST_F(sink_test, bursts_of_any_number_keep_their_order)
{
    std::uint8_t seed = 0;
    for (std::size_t count = 1; count <= 64; ++count) {
        std::vector<frame> burst;
        for (std::size_t i = 0; i < count; ++i) {
            burst.push_back(a_frame(60 + count * 13, seed++));
        }
        guest_.transmit(burst);
        ASSERT_EQ(guest_.take_frames(), burst);
    }
}

TEST_F(sink_test, a_burst_is_one_call_unless_its_pieces_are_too_many)
{
    const auto calls = [&] { return hypervisor_->counts().calls; };
    std::vector<frame> burst(64, a_frame(200));
    auto before = calls();
    guest_.transmit(burst);
    EXPECT_EQ(calls() - before, 1U);
    (void)guest_.take();
    // 15 frames of 17 slots: that many a ring has room for.
    burst.assign(15, a_frame(65'535));
    before = calls();
    guest_.transmit(burst);
    EXPECT_LE(calls() - before, 2U);
    EXPECT_EQ(guest_.take_frames(), burst);
}

// Payload that came in many segments, as from a chain of small descriptors.
TEST_F(sink_test, a_burst_in_more_pieces_than_a_call_takes_is_several)
{
    const std::vector<std::size_t> segments(20, 64);
    std::vector<strait::test::split_packet> packets;
    std::vector<dataplane::packet*> list;
    std::vector<frame> burst;
    for (std::uint8_t i = 0; i < dataplane::burst::capacity; ++i) {
        burst.push_back(a_frame(128 + segments.size() * 64, i));
        packets.emplace_back(burst.back(), 128, segments);
    }
    for (auto& p : packets) {
        list.push_back(&p.get());
    }
    const auto before = hypervisor_->counts().calls;
    guest_.transmit(list);
    EXPECT_GE(hypervisor_->counts().calls - before, list.size() * segments.size() / 512);
    EXPECT_EQ(guest_.take_frames(), burst);
}

TEST_F(sink_test, a_full_ring_drops_at_once)
{
    wired_guest small{lab_, *hypervisor_, {.receive_buffers = 10}};
    std::vector<frame> burst;
    for (std::uint8_t i = 0; i < 12; ++i) {
        burst.push_back(a_frame(60, i));
    }
    small.transmit(burst);
    EXPECT_EQ(small.worker().drops(drop_reason::receiver_full), 2U);
    burst.resize(10);
    EXPECT_EQ(small.take_frames(), burst);
}

TEST_F(sink_test, a_frame_with_no_room_for_all_of_it_is_dropped_and_a_smaller_one_passes)
{
    wired_guest small{lab_, *hypervisor_, {.receive_buffers = 2}};
    small.transmit({a_frame(9000), a_frame(60), a_frame(5000), a_frame(70)});
    EXPECT_EQ(small.worker().drops(drop_reason::receiver_full), 2U);
    EXPECT_THAT(small.take_frames(), ElementsAre(a_frame(60), a_frame(70)));
}

TEST_F(sink_test, a_driver_without_scatter_gather_gets_one_page_a_frame)
{
    wired_guest plain{lab_, *hypervisor_, {.features = {}}};
    plain.transmit({a_frame(4096), a_frame(4097)});
    EXPECT_THAT(plain.take_frames(), ElementsAre(a_frame(4096)));
    EXPECT_EQ(plain.worker().drops(drop_reason::receiver_buffer_too_small), 1U);
}

TEST_F(sink_test, headroom_lies_in_front_of_the_first_page_alone)
{
    guest_.state().headroom = 256;
    for (const std::size_t size : std::initializer_list<std::size_t>{60U, 3840U, 3841U, 9000U}) {
        guest_.transmit({a_frame(size)});
        const std::uint32_t at = guest_.front().rx().consumer();
        EXPECT_EQ(response_at(at).offset, 256U);
        EXPECT_NE(response_at(at).flags & netif::rx_flag::extra_info, 0U);
        const auto got = guest_.take();
        ASSERT_EQ(got.size(), 1U);
        EXPECT_EQ(got.front().bytes, a_frame(size));
        EXPECT_EQ(got.front().about.headroom, 256U);
        EXPECT_EQ(got.front().about.slots, (size + 256 + page_size - 1) / page_size);
    }
}

TEST_F(sink_test, headroom_takes_part_in_what_a_page_holds)
{
    wired_guest plain{lab_, *hypervisor_, {.features = {}}};
    plain.state().headroom = 256;
    plain.transmit({a_frame(3840), a_frame(3841)});
    EXPECT_THAT(plain.take_frames(), ElementsAre(a_frame(3840)));
    EXPECT_EQ(plain.worker().drops(drop_reason::receiver_buffer_too_small), 1U);
}

// ---- what is left undone ----

TEST_F(sink_test, a_blank_checksum_is_said_to_be)
{
    const ip_frame shape{.ipv6 = true, .protocol = 17, .payload = 500};
    borrowed_packet p{shape.build(true)};
    ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::none, 0),
              dataplane::offload_fault::none);
    dataplane::packet* const list[] = {&p.get()};
    guest_.transmit(list);
    const auto got = guest_.take();
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got.front().bytes, shape.build(true));
    EXPECT_TRUE(got.front().about.extras.checksum_blank);
    EXPECT_TRUE(got.front().about.extras.checksum_validated);
    EXPECT_EQ(got.front().about.extras.segment_size, 0U);
}

TEST_F(sink_test, segments_to_cut_travel_as_an_extra_info)
{
    for (const bool ipv6 : {false, true}) {
        const ip_frame shape{.ipv6 = ipv6, .payload = 30'000};
        borrowed_packet p{shape.build(true)};
        ASSERT_EQ(dataplane::infer_offload(
                      p.get(), true, ipv6 ? segmentation::tcp_ipv6 : segmentation::tcp_ipv4, 1400),
                  dataplane::offload_fault::none);
        dataplane::packet* const list[] = {&p.get()};
        guest_.state().headroom = ipv6 ? 64 : 0; // then two of them
        guest_.transmit(list);
        const auto got = guest_.take();
        ASSERT_EQ(got.size(), 1U);
        EXPECT_EQ(got.front().bytes, shape.build(true));
        EXPECT_TRUE(got.front().about.extras.checksum_blank);
        EXPECT_EQ(got.front().about.extras.segment_size, 1400U);
        EXPECT_EQ(got.front().about.extras.segments_ipv6, ipv6);
        EXPECT_EQ(got.front().about.headroom, ipv6 ? 64U : 0U);
    }
    EXPECT_TRUE(guest_.front().violation().empty()) << guest_.front().violation();
}

TEST_F(sink_test, segments_whose_checksum_is_whole_become_blank)
{
    const ip_frame shape{.payload = 3000};
    borrowed_packet p{shape.build(false)};
    ASSERT_EQ(dataplane::infer_offload(p.get(), false, segmentation::tcp_ipv4, 1400),
              dataplane::offload_fault::none);
    dataplane::packet* const list[] = {&p.get()};
    guest_.transmit(list);
    const auto got = guest_.take();
    ASSERT_EQ(got.size(), 1U);
    EXPECT_TRUE(got.front().about.extras.checksum_blank);
    EXPECT_EQ(got.front().bytes, shape.build(true));
}

// netif has no word for them: whoever asks what the guest takes has them cut before.
TEST_F(sink_test, datagrams_to_cut_do_not_go_whole)
{
    const ip_frame shape{.protocol = 17, .payload = 3000};
    borrowed_packet p{shape.build(true)};
    ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::udp, 1400),
              dataplane::offload_fault::none);
    dataplane::packet* const list[] = {&p.get()};
    guest_.transmit(list);
    EXPECT_TRUE(guest_.take().empty());
    EXPECT_EQ(guest_.worker().drops(drop_reason::receiver_not_connected), 1U);
    EXPECT_TRUE(guest_.front().violation().empty()) << guest_.front().violation();
}

TEST_F(sink_test, extra_infos_take_slots_that_must_be_free)
{
    wired_guest small{lab_, *hypervisor_, {.receive_buffers = 1}};
    small.state().headroom = 64;
    small.transmit({a_frame(60)});
    EXPECT_EQ(small.worker().drops(drop_reason::receiver_full), 1U);
    EXPECT_TRUE(small.take().empty());
}

TEST_F(sink_test, what_the_driver_does_not_take_is_not_given_to_it)
{
    wired_guest plain{lab_, *hypervisor_, {.features = {}}};
    const ip_frame shape{.payload = 500};
    borrowed_packet p{shape.build(true)};
    ASSERT_EQ(dataplane::infer_offload(p.get(), true, segmentation::none, 0),
              dataplane::offload_fault::none);
    dataplane::packet* const list[] = {&p.get()};
    plain.transmit(list);
    EXPECT_TRUE(plain.take().empty());
    EXPECT_EQ(plain.worker().drops(drop_reason::receiver_not_connected), 1U);
}

TEST_F(sink_test, a_hash_travels_with_the_frame_when_asked_for)
{
    hash_config config;
    ASSERT_TRUE(config.set_types(netif::hash_type::all));
    std::array<std::byte, hash_config::max_key> key{};
    key.fill(std::byte{0x6d});
    ASSERT_TRUE(config.set_key(key));
    guest_.state().hash = &config;
    const ip_frame tcp{.payload = 100};
    const ip_frame udp6{.ipv6 = true, .protocol = 17, .payload = 100};
    borrowed_packet first{tcp.build(false)};
    borrowed_packet second{udp6.build(false)};
    borrowed_packet third{a_frame(60)};
    dataplane::packet* const list[] = {&first.get(), &second.get(), &third.get()};
    guest_.transmit(list);
    const auto got = guest_.take();
    ASSERT_EQ(got.size(), 3U);
    EXPECT_EQ(got[0].about.hash_type, netif::hash_type::ipv4_tcp);
    EXPECT_EQ(got[0].about.hash, config.of(first.get()).hash);
    EXPECT_EQ(got[1].about.hash_type, netif::hash_type::ipv6);
    EXPECT_EQ(got[1].about.hash, config.of(second.get()).hash);
    EXPECT_EQ(got[2].about.hash_type, 0U) << "there is nothing to hash";
    guest_.state().hash = nullptr;
}

// ---- multicasts ----

TEST_F(sink_test, multicasts_that_nobody_asked_for_are_dropped)
{
    frontend_features features = all_features();
    features.multicast_control = true;
    wired_guest picky{lab_, *hypervisor_, {.features = features}};
    const frame wanted = make_frame("33:33:00:00:00:01", "00:16:3e:00:00:02", 60);
    const frame other = make_frame("33:33:00:00:00:02", "00:16:3e:00:00:02", 60);
    const frame broadcast = make_frame("ff:ff:ff:ff:ff:ff", "00:16:3e:00:00:02", 60);
    ASSERT_TRUE(picky.front().send_multicast(true, {{0x33, 0x33, 0, 0, 0, 1}}));
    (void)picky.poll_all();
    picky.transmit({wanted, other, broadcast, a_frame(60)});
    EXPECT_THAT(picky.take_frames(), ElementsAre(wanted, broadcast, a_frame(60)));
    EXPECT_EQ(picky.worker().drops(drop_reason::multicast_unwanted), 1U);
    // Of a guest that told a process that is gone, nobody knows what it wants.
    picky.state().multicasts.want_all();
    picky.transmit({other});
    EXPECT_THAT(picky.take_frames(), ElementsAre(other));
}

// ---- from guest to guest ----

TEST_F(sink_test, payload_goes_straight_from_guest_to_guest)
{
    wired_guest sender{lab_, *hypervisor_};
    const std::vector<std::uint16_t> cuts(17, 3000);
    const frame many = a_frame(53'000, 4);
    sender.send(a_frame(60, 1));
    sender.send(a_frame(1514, 2));
    sender.send(many, {}, cuts, 500);
    sender.publish();
    const auto before = hypervisor_->counts();
    EXPECT_EQ(sender.forward(guest_), 3U);
    const auto after = hypervisor_->counts();
    EXPECT_EQ(after.calls - before.calls, 2U) << "heads, then everything";
    // Each byte once, but for the heads.
    EXPECT_EQ(after.bytes - before.bytes, 60U + 1514 + 53'000 + 60 + 2 * dataplane::head_copy);
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(60, 1), a_frame(1514, 2), many));
    sender.reap();
    EXPECT_EQ(sender.front().counts().tx_okay, 20U);
}

TEST_F(sink_test, a_sender_that_takes_its_payload_back_is_blamed_alone)
{
    wired_guest sender{lab_, *hypervisor_};
    for (std::uint8_t i = 0; i < 3; ++i) {
        sender.send(a_frame(3000, i));
    }
    sender.publish();
    ASSERT_EQ(sender.receive(), ports::rx_queue::poll::taken);
    const auto middle = grant_ref{sender.burst()[1].remote->spans.front().reference};
    ASSERT_TRUE(sender.domain().end(middle));
    std::vector<dataplane::packet*> list;
    for (auto& p : sender.burst()) {
        list.push_back(&p);
    }
    guest_.transmit(list);
    sender.release();
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(3000, 0), a_frame(3000, 2)));
    EXPECT_EQ(guest_.front().counts().rx_errors, 1U) << "what was half copied is said to be bad";
    sender.reap();
    EXPECT_EQ(sender.front().counts().tx_okay, 2U);
    EXPECT_EQ(sender.front().counts().tx_error, 1U);
    EXPECT_EQ(sender.state().counters.source_errors.read(), 1U);
    EXPECT_EQ(guest_.state().counters.target_errors.read(), 0U);
    EXPECT_EQ(guest_.worker().drops(drop_reason::copy_failed), 1U);
}

TEST_F(sink_test, a_receiver_that_takes_its_buffer_back_is_blamed_alone)
{
    wired_guest sender{lab_, *hypervisor_};
    for (std::uint8_t i = 0; i < 3; ++i) {
        sender.send(a_frame(3000, i));
    }
    sender.publish();
    ASSERT_TRUE(guest_.domain().end(guest_.front().rx_grant(1)));
    EXPECT_EQ(sender.forward(guest_), 3U);
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(3000, 0), a_frame(3000, 2)));
    EXPECT_EQ(guest_.front().counts().rx_errors, 1U);
    sender.reap();
    EXPECT_EQ(sender.front().counts().tx_okay, 3U);
    EXPECT_EQ(sender.state().counters.source_errors.read(), 0U);
    EXPECT_EQ(guest_.state().counters.target_errors.read(), 1U);
    EXPECT_EQ(guest_.in().fault(), nullptr);
}

TEST_F(sink_test, nobody_is_blamed_for_a_copy_that_failed_by_itself)
{
    wired_guest sender{lab_, *hypervisor_};
    sender.send(a_frame(3000));
    sender.publish();
    // The sender's head, then the receiver's head and page: the last of those.
    fail_copies(domain_id{guest_.id()}, 1, 1);
    EXPECT_EQ(sender.forward(guest_), 1U);
    EXPECT_TRUE(guest_.take().empty());
    EXPECT_EQ(guest_.front().counts().rx_errors, 1U);
    EXPECT_EQ(guest_.worker().drops(drop_reason::copy_failed), 1U);
    EXPECT_EQ(sender.state().counters.source_errors.read(), 0U);
    EXPECT_EQ(guest_.state().counters.target_errors.read(), 0U);
}

TEST_F(sink_test, every_failed_frame_of_a_burst_costs_one_call_more_in_all)
{
    wired_guest sender{lab_, *hypervisor_};
    for (std::uint8_t i = 0; i < 64; ++i) {
        sender.send(a_frame(200, i));
        ASSERT_TRUE(guest_.domain().end(guest_.front().rx_grant(i)));
    }
    sender.publish();
    const auto before = hypervisor_->counts().calls;
    EXPECT_EQ(sender.forward(guest_), 64U);
    EXPECT_EQ(hypervisor_->counts().calls - before, 3U);
    EXPECT_EQ(guest_.state().counters.target_errors.read(), 64U);
}

TEST_F(sink_test, buffers_that_may_not_be_written_are_errors)
{
    guest_.domain().regrant(guest_.front().rx_grant(0), hypervisor_->own_domain(),
                            guest_.front().tx_page(0), true);
    guest_.domain().regrant(guest_.front().rx_grant(1), domain_id{99}, guest_.front().tx_page(0));
    const netif::rx_request beyond{.id = 2, .padding = 0, .grant = 0xffff'ffff};
    std::memcpy(guest_.front().rx().slot(2), &beyond, sizeof beyond);
    guest_.transmit({a_frame(60, 1), a_frame(60, 2), a_frame(60, 3), a_frame(60, 4)});
    for (const std::uint32_t at : {0U, 1U, 2U}) {
        EXPECT_EQ(response_at(at).status, netif::status::error) << at;
    }
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(60, 4)));
    EXPECT_EQ(guest_.state().counters.target_errors.read(), 3U);
    EXPECT_EQ(guest_.worker().counters.tx_packets.read(), 1U);
}

TEST_F(sink_test, a_frame_of_which_one_page_fails_is_an_error_as_a_whole)
{
    ASSERT_TRUE(guest_.domain().end(guest_.front().rx_grant(1)));
    guest_.transmit({a_frame(9000), a_frame(60)});
    for (const std::uint32_t at : {0U, 1U, 2U}) {
        EXPECT_EQ(response_at(at).status, netif::status::error) << at;
    }
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(60)));
    EXPECT_EQ(guest_.front().counts().rx_errors, 1U);
}

// ---- the ring ----

TEST_F(sink_test, more_buffers_than_slots_end_the_connection)
{
    guest_.front().rx().field(netif::ring_field::req_prod).store(netif::ring_size + 1);
    guest_.transmit({a_frame(60), a_frame(60)});
    EXPECT_STREQ(guest_.in().fault(), fault_text::index);
    EXPECT_EQ(guest_.worker().drops(drop_reason::receiver_malformed), 2U);
    EXPECT_EQ(guest_.front().rx().field(netif::ring_field::rsp_prod).load(), 0U);
    guest_.front().rx().field(netif::ring_field::req_prod).store(netif::ring_size);
    guest_.transmit({a_frame(60)});
    EXPECT_EQ(guest_.worker().drops(drop_reason::receiver_malformed), 3U)
        << "it does not come back";
}

TEST_F(sink_test, the_guest_is_told_once_a_burst_and_only_when_it_asks)
{
    (void)guest_.told();
    guest_.transmit(std::vector<frame>(20, a_frame(60)));
    EXPECT_TRUE(guest_.told());
    guest_.transmit({a_frame(60)});
    EXPECT_FALSE(guest_.told()) << "it polls";
    (void)guest_.take();
    ASSERT_TRUE(guest_.front().may_sleep());
    guest_.transmit(std::vector<frame>(3, a_frame(60)));
    EXPECT_TRUE(guest_.told());
    EXPECT_EQ(guest_.state().counters.notifications.read(), 2U);
}

TEST_F(sink_test, one_channel_serves_both_rings)
{
    wired_guest single{lab_, *hypervisor_, {.split_channels = false}};
    (void)single.told();
    single.transmit({a_frame(60)});
    EXPECT_TRUE(single.told());
    EXPECT_THAT(single.take_frames(), ElementsAre(a_frame(60)));
    single.send(a_frame(70));
    EXPECT_THAT(single.poll_all(), ElementsAre(a_frame(70)));
    EXPECT_TRUE(single.told());
}

TEST_F(sink_test, nothing_behind_a_frame_is_written)
{
    for (std::uint32_t id = 0; id < 3; ++id) {
        std::memset(guest_.front().rx_page(id), 0xaa, page_size);
    }
    guest_.transmit({a_frame(61), a_frame(5000)});
    const auto untouched = [&](std::uint32_t id, std::size_t from) {
        const auto* const page = guest_.front().rx_page(id);
        return std::all_of(page + from, page + page_size,
                           [](std::byte b) { return b == std::byte{0xaa}; });
    };
    EXPECT_TRUE(untouched(0, 61));
    EXPECT_TRUE(untouched(2, 5000 - page_size));
}

// ---- taking over what another process left ----

class half_delivered : public sink_test {
protected:
    const unchanging_reads one_process_after_the_other_;

    // As answer() does, without publishing it.
    void write(std::uint32_t at, netif::rx_response r)
    {
        std::memcpy(guest_.front().rx().slot(at), &r, sizeof r);
    }
    void fill(std::uint32_t id, std::span<const std::uint8_t> bytes)
    {
        std::memcpy(guest_.front().rx_page(id), bytes.data(), bytes.size());
    }
};

TEST_F(half_delivered, nothing_was_written)
{
    guest_.transmit({a_frame(60, 1)});
    guest_.restart();
    guest_.transmit({a_frame(60, 2)});
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(60, 1), a_frame(60, 2)));
    EXPECT_EQ(guest_.front().counts().rx_errors, 0U);
}

TEST_F(half_delivered, whole_frames_reach_the_guest)
{
    const frame big = a_frame(5000, 3);
    fill(0, a_frame(60, 1));
    write(0, {.id = 0, .offset = 0, .flags = 0, .status = 60});
    fill(1, std::span{big}.first(page_size));
    fill(2, std::span{big}.subspan(page_size));
    write(1, {.id = 1, .offset = 0, .flags = netif::rx_flag::more_data, .status = 4096});
    write(2, {.id = 2, .offset = 0, .flags = 0, .status = 904});
    guest_.restart();
    EXPECT_EQ(guest_.in().position(), 3U);
    guest_.transmit({a_frame(60, 2)});
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(60, 1), big, a_frame(60, 2)));
    EXPECT_EQ(guest_.front().counts().rx_errors, 0U);
}

TEST_F(half_delivered, a_frame_that_is_not_whole_becomes_errors)
{
    write(0, {.id = 0, .offset = 0, .flags = netif::rx_flag::more_data, .status = 4096});
    write(1, {.id = 1, .offset = 0, .flags = netif::rx_flag::more_data, .status = 4096});
    guest_.restart();
    guest_.transmit({a_frame(60, 2)});
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(60, 2)));
    EXPECT_EQ(guest_.front().counts().rx_errors, 2U);
    EXPECT_TRUE(guest_.front().violation().empty()) << guest_.front().violation();
}

TEST_F(half_delivered, a_frame_with_extra_infos_is_whole_when_another_follows)
{
    const auto write_xdp = [&](std::uint32_t at) {
        const netif::extra_info e{
            .type = static_cast<std::uint8_t>(netif::extra::xdp), .flags = 0, .body = {64}};
        std::memcpy(guest_.front().rx().slot(at), &e, sizeof e);
    };
    fill(0, frame(64));
    std::memcpy(guest_.front().rx_page(0) + 64, a_frame(60, 1).data(), 60);
    write(0, {.id = 0, .offset = 64, .flags = netif::rx_flag::extra_info, .status = 60});
    write_xdp(1);
    write(2, {.id = 2, .offset = 64, .flags = netif::rx_flag::extra_info, .status = 60});
    // Whether the last one's extra info was written, nobody can tell.
    guest_.restart();
    EXPECT_EQ(guest_.in().position(), 4U);
    guest_.transmit({a_frame(60, 2)});
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(60, 1), a_frame(60, 2)));
    EXPECT_EQ(guest_.front().counts().rx_errors, 2U);
    EXPECT_TRUE(guest_.front().violation().empty()) << guest_.front().violation();
}

// The upper byte of an id where an extra info says that another follows.
TEST_F(half_delivered, extra_infos_are_no_more_than_are_ever_written)
{
    for (std::uint32_t at = 1; at < 10; ++at) {
        netif::rx_request r{};
        std::memcpy(&r, guest_.front().rx().slot(at), sizeof r);
        r.id = static_cast<std::uint16_t>(0x100U | r.id);
        std::memcpy(guest_.front().rx().slot(at), &r, sizeof r);
    }
    write(0, {.id = 0, .offset = 0, .flags = netif::rx_flag::extra_info, .status = 60});
    guest_.restart();
    EXPECT_EQ(guest_.in().position(), 4U) << "segments, headroom, hash";
}

TEST_F(half_delivered, extra_infos_end_where_the_guests_buffers_do)
{
    wired_guest small{lab_, *hypervisor_, {.receive_buffers = 2}};
    const netif::rx_response r{
        .id = 1, .offset = 0, .flags = netif::rx_flag::extra_info, .status = 60};
    const netif::rx_response first{.id = 0, .offset = 0, .flags = 0, .status = 60};
    std::memcpy(small.front().rx().slot(0), &first, sizeof first);
    std::memcpy(small.front().rx().slot(1), &r, sizeof r);
    small.restart();
    EXPECT_EQ(small.in().position(), 2U);
}

TEST_F(half_delivered, what_is_no_response_is_a_request)
{
    const netif::rx_response none[] = {
        {.id = 0, .offset = 0, .flags = 0x10, .status = 60},
        {.id = 0, .offset = 0, .flags = 0, .status = 0},
        {.id = 0, .offset = 0, .flags = 0, .status = netif::status::dropped},
        {.id = 0, .offset = 4000, .flags = 0, .status = 97},
        {.id = 0, .offset = 0, .flags = 0, .status = 4097},
        {.id = 0, .offset = 0xffff, .flags = 0, .status = 1},
    };
    for (const auto& r : none) {
        write(0, r);
        guest_.restart();
        EXPECT_EQ(guest_.in().position(), 0U) << r.offset << ", " << r.flags << ", " << r.status;
    }
}

// No more than the first response of a frame has extra infos behind it.
TEST_F(half_delivered, a_later_page_has_no_extra_infos)
{
    write(0, {.id = 0, .offset = 0, .flags = netif::rx_flag::more_data, .status = 4096});
    write(1, {.id = 1, .offset = 0, .flags = netif::rx_flag::extra_info, .status = 60});
    guest_.restart();
    EXPECT_EQ(guest_.in().position(), 2U);
}

TEST_F(half_delivered, an_index_out_of_range_is_found_later)
{
    guest_.front().rx().field(netif::ring_field::req_prod).store(1000);
    write(0, {.id = 0, .offset = 0, .flags = 0, .status = 60});
    guest_.restart();
    EXPECT_EQ(guest_.in().position(), 0U);
    guest_.transmit({a_frame(60)});
    EXPECT_STREQ(guest_.in().fault(), fault_text::index);
}

TEST_F(half_delivered, failed_frames_stay_failed)
{
    write(0, {.id = 0, .offset = 0, .flags = 0, .status = netif::status::error});
    guest_.restart();
    guest_.transmit({a_frame(60, 2)});
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(60, 2)));
    EXPECT_EQ(guest_.front().counts().rx_errors, 1U);
}

TEST_F(half_delivered, a_ring_full_of_what_looks_written_is_answered_and_no_more)
{
    for (std::uint32_t at = 0; at < netif::ring_size; ++at) {
        write(at, {.id = static_cast<std::uint16_t>(at),
                   .offset = 0,
                   .flags = netif::rx_flag::more_data | netif::rx_flag::extra_info,
                   .status = 100});
    }
    guest_.restart();
    EXPECT_EQ(guest_.in().position(), netif::ring_size);
    EXPECT_TRUE(guest_.take().empty());
    EXPECT_EQ(guest_.front().counts().rx_errors, netif::ring_size);
    guest_.transmit({a_frame(60, 2)});
    EXPECT_THAT(guest_.take_frames(), ElementsAre(a_frame(60, 2)));
}

} // namespace
} // namespace strait::xen::test
