// SPDX-License-Identifier: BSD-3-Clause
// What comes out of a guest's transmit ring, and what the guest is answered. What a hostile guest
// does with it at random is ring_hostile_test.cc's, past advisories are advisories_test.cc's.
#include "tests/unit/dataplane/ip_frame.hh"
#include "tests/unit/ports/xen-netback/ring_lab.hh"

#include "ports/xen-netback/fault.hh"

#include <gmock/gmock.h>

#include <numeric>
#include <random>

namespace strait::xen::test {
namespace {

using dataplane::drop_reason;
using dataplane::offloads;
using dataplane::segmentation;
using ports::rx_queue;
using strait::test::ip_frame;
using testing::ElementsAre;

const std::string guest_mac = "00:16:3e:00:00:01";
const std::string other_mac = "00:16:3e:00:00:02";

frame a_frame(std::size_t size, std::uint8_t seed = 1)
{
    return make_frame(other_mac, guest_mac, size, seed);
}

class source_test : public testing::Test {
protected:
    lab lab_;
    std::unique_ptr<simulated::simulated_hypervisor> hypervisor_{lab_.hypervisor()};
    wired_guest guest_{lab_, *hypervisor_};

    [[nodiscard]] std::uint64_t okay() { return guest_.front().counts().tx_okay; }
    [[nodiscard]] std::uint64_t errors() { return guest_.front().counts().tx_error; }
    // The next receive() ends the ring's use for this reason, and takes nothing more.
    void expect_fault(const char* why)
    {
        guest_.publish();
        EXPECT_TRUE(guest_.poll().empty());
        EXPECT_STREQ(guest_.out().fault(), why);
        EXPECT_EQ(guest_.worker().drops(drop_reason::malformed_descriptor), 1U);
        const std::uint32_t position = guest_.out().position();
        guest_.send(a_frame(60));
        guest_.publish();
        EXPECT_EQ(guest_.receive(), rx_queue::poll::empty);
        EXPECT_EQ(guest_.out().position(), position);
    }
    // A request for a page that is granted as it has to be.
    netif::tx_request request(std::uint16_t id, std::uint16_t size, std::uint16_t flags = 0,
                              std::uint16_t offset = 0)
    {
        const grant_ref r = guest_.front().tx_grant(id);
        guest_.domain().regrant(r, hypervisor_->own_domain(), guest_.front().tx_page(id), true);
        return {.grant = static_cast<std::uint32_t>(r),
                .offset = offset,
                .flags = flags,
                .id = id,
                .size = size};
    }
};

TEST_F(source_test, a_frame_arrives_and_is_answered)
{
    const frame f = a_frame(60);
    guest_.send(f);
    EXPECT_THAT(guest_.poll_all(), ElementsAre(f));
    EXPECT_EQ(okay(), 1U);
    EXPECT_EQ(guest_.out().position(), 1U);
    EXPECT_EQ(guest_.worker().counters.rx_packets.read(), 1U);
    EXPECT_EQ(guest_.worker().counters.rx_bytes.read(), 60U);
    EXPECT_EQ(guest_.out().fault(), nullptr);
}

TEST_F(source_test, an_empty_ring_is_empty)
{
    EXPECT_EQ(guest_.receive(), rx_queue::poll::empty);
    guest_.send(a_frame(60));
    guest_.publish();
    EXPECT_EQ(guest_.poll().size(), 1U);
    EXPECT_EQ(guest_.receive(), rx_queue::poll::empty);
}

TEST_F(source_test, frames_of_every_size_and_layout_arrive_as_they_were_sent)
{
    std::mt19937 random{7}; // NOLINT(cert-msc51-cpp): the same each time
    const std::vector<std::size_t> sizes{14,   15,   60,   127,  128,  129,   255,   1514,
                                         4095, 4096, 4097, 8192, 9018, 12345, 65534, 65535};
    for (int round = 0; round < 20; ++round) {
        for (const std::size_t size : sizes) {
            const frame f = a_frame(size, static_cast<std::uint8_t>(random()));
            std::vector<std::uint16_t> cuts;
            std::size_t cut = 0;
            const auto slots = random() % (netif::max_slots - size / page_size - 1);
            for (std::size_t i = 0; i < slots; ++i) {
                const std::size_t most = std::min<std::size_t>(size - cut, page_size);
                const std::size_t n = round % 3 == 0 ? std::min<std::size_t>(most, random() % 40)
                                                     : random() % (most + 1);
                // What is left must still fit into whole pages.
                const std::size_t slots_left = netif::max_slots - cuts.size() - 1;
                if (size - cut - n > slots_left * page_size) {
                    break;
                }
                cuts.push_back(static_cast<std::uint16_t>(n));
                cut += n;
            }
            const auto first = cuts.empty() ? std::min<std::size_t>(size, page_size) : cuts[0];
            const auto offset = static_cast<std::uint16_t>(
                cuts.empty() && size > page_size ? 0 : random() % (page_size - first + 1));
            guest_.send(f, {}, cuts, offset);
            const auto got = guest_.poll_all();
            ASSERT_EQ(got.size(), 1U) << size << " bytes, " << cuts.size() << " cuts";
            ASSERT_EQ(got.front(), f);
        }
    }
    EXPECT_EQ(okay(), guest_.front().counts().tx_slots);
    EXPECT_EQ(guest_.worker().all_drops(), 0U);
}

TEST_F(source_test, a_poll_takes_a_burst_at_most)
{
    for (unsigned i = 0; i < 200; ++i) {
        guest_.send(a_frame(60, static_cast<std::uint8_t>(i)));
    }
    guest_.publish();
    for (const std::size_t expected : {64U, 64U, 64U, 8U}) {
        const auto got = guest_.poll();
        ASSERT_EQ(got.size(), expected);
    }
    guest_.reap();
    EXPECT_EQ(okay(), 200U);
}

TEST_F(source_test, frames_arrive_in_order_through_many_turns_of_the_ring)
{
    std::uint8_t next = 0;
    std::uint8_t expected = 0;
    for (unsigned turn = 0; turn < 300; ++turn) {
        const unsigned count = 1 + turn % 13;
        for (unsigned i = 0; i < count; ++i) {
            guest_.send(a_frame(100 + turn % 7 * 900, next++));
        }
        for (const frame& f : guest_.poll_all()) {
            ASSERT_EQ(f, a_frame(100 + turn % 7 * 900, expected++));
        }
        ASSERT_EQ(next, expected);
    }
    EXPECT_GT(guest_.out().position(), 3 * netif::ring_size);
}

TEST_F(source_test, heads_of_a_burst_are_copied_in_one_call)
{
    for (unsigned i = 0; i < 64; ++i) {
        guest_.send(a_frame(64));
    }
    guest_.publish();
    const auto before = hypervisor_->counts();
    EXPECT_EQ(guest_.receive(), rx_queue::poll::taken);
    guest_.release();
    const auto after = hypervisor_->counts();
    EXPECT_EQ(after.calls - before.calls, 1U);
    EXPECT_EQ(after.pieces - before.pieces, 64U);
}

TEST_F(source_test, payload_stays_in_the_guest)
{
    guest_.send(a_frame(3000));
    guest_.publish();
    const auto before = hypervisor_->counts().bytes;
    EXPECT_EQ(guest_.receive(), rx_queue::poll::taken);
    EXPECT_EQ(hypervisor_->counts().bytes - before, dataplane::head_copy);
    const auto& p = guest_.burst().front();
    ASSERT_NE(p.remote, nullptr);
    EXPECT_EQ(p.head_length, dataplane::head_copy);
    EXPECT_EQ(p.length, 3000U);
    EXPECT_EQ(p.remote->spans.size(), 1U);
    EXPECT_EQ(guest_.front().tx().ready(), 0U) << "answered before its payload was needed no more";
    guest_.release();
    EXPECT_EQ(guest_.front().tx().ready(), 1U);
}

TEST_F(source_test, eighteen_slots_pass_and_nineteen_do_not)
{
    const std::vector<std::uint16_t> cuts(17, 100);
    const frame f = a_frame(1800);
    guest_.send(f, {}, cuts);
    EXPECT_THAT(guest_.poll_all(), ElementsAre(f));
    EXPECT_EQ(okay(), 18U);
    guest_.send(f, {}, std::vector<std::uint16_t>(18, 90));
    guest_.send(a_frame(70));
    EXPECT_THAT(guest_.poll_all(), ElementsAre(a_frame(70)));
    EXPECT_EQ(errors(), 19U);
    EXPECT_EQ(guest_.worker().drops(drop_reason::malformed_descriptor), 1U);
    EXPECT_EQ(guest_.out().fault(), nullptr);
}

TEST_F(source_test, twenty_slots_end_the_connection)
{
    guest_.send(a_frame(2000), {}, std::vector<std::uint16_t>(19, 100));
    expect_fault(fault_text::too_many_slots);
}

TEST_F(source_test, frames_before_a_breach_are_delivered)
{
    guest_.send(a_frame(60));
    guest_.send(a_frame(2000), {}, std::vector<std::uint16_t>(19, 100));
    guest_.publish();
    EXPECT_THAT(guest_.poll(), ElementsAre(a_frame(60)));
    EXPECT_STREQ(guest_.out().fault(), fault_text::too_many_slots);
    guest_.reap();
    EXPECT_EQ(okay(), 1U);
}

TEST_F(source_test, an_empty_slot_is_answered_and_its_grant_not_touched)
{
    using namespace netif;
    put_request(guest_, request(0, 60, tx_flag::more_data));
    netif::tx_request empty = request(1, 0);
    empty.grant = 0xffff'ffff;
    put_request(guest_, empty);
    std::memcpy(guest_.front().tx_page(0), a_frame(60).data(), 60);
    guest_.publish();
    const auto pieces = hypervisor_->counts().pieces;
    ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
    EXPECT_EQ(hypervisor_->counts().pieces - pieces, 1U);
    EXPECT_EQ(guest_.burst().front().remote, nullptr) << "no payload of 0 bytes";
    EXPECT_EQ(strait::test::bytes_of(guest_.burst().front()), a_frame(60));
    guest_.release();
    EXPECT_EQ(response_at(guest_, 1).id, 1U);
    EXPECT_EQ(response_at(guest_, 1).status, netif::status::okay);
}

TEST_F(source_test, the_first_slot_may_be_empty)
{
    const frame f = a_frame(60);
    guest_.send(f, {}, std::vector<std::uint16_t>{0, 0});
    EXPECT_THAT(guest_.poll_all(), ElementsAre(f));
}

TEST_F(source_test, a_frame_without_an_ethernet_header_is_an_error)
{
    for (const std::size_t size : {0U, 1U, 13U}) {
        guest_.send(frame(size, 1));
    }
    guest_.send(a_frame(14));
    EXPECT_THAT(guest_.poll_all(), ElementsAre(a_frame(14)));
    EXPECT_EQ(errors(), 3U);
    EXPECT_EQ(okay(), 1U);
    EXPECT_EQ(guest_.worker().drops(drop_reason::frame_too_short), 3U);
}

TEST_F(source_test, slots_that_are_more_than_their_frame_are_an_error)
{
    using namespace netif;
    put_request(guest_, request(0, 100, tx_flag::more_data));
    put_request(guest_, request(1, 101));
    guest_.publish();
    EXPECT_TRUE(guest_.poll().empty());
    EXPECT_EQ(response_at(guest_, 0).status, netif::status::error);
    EXPECT_EQ(response_at(guest_, 1).status, netif::status::error);
    EXPECT_EQ(guest_.worker().drops(drop_reason::malformed_descriptor), 1U);
    EXPECT_EQ(guest_.out().fault(), nullptr);
}

TEST_F(source_test, a_slot_that_leaves_its_page_ends_the_connection)
{
    put_request(guest_, request(0, 100, 0, 3997));
    expect_fault(fault_text::crosses_page);
}

TEST_F(source_test, a_later_slot_that_leaves_its_page_ends_the_connection)
{
    put_request(guest_, request(0, 200, netif::tx_flag::more_data));
    put_request(guest_, request(1, 100, 0, 65535));
    expect_fault(fault_text::crosses_page);
}

TEST_F(source_test, a_ring_that_ends_inside_a_frame_ends_the_connection)
{
    put_request(guest_, request(0, 200, netif::tx_flag::more_data));
    expect_fault(fault_text::missing_slot);
}

TEST_F(source_test, a_ring_that_ends_inside_extra_infos_ends_the_connection)
{
    put_request(guest_, request(0, 200, netif::tx_flag::extra_info));
    expect_fault(fault_text::missing_extra);
}

TEST_F(source_test, extra_infos_to_the_rings_end_end_the_connection)
{
    put_request(guest_, request(0, 200, netif::tx_flag::extra_info));
    while (guest_.front().tx().room() > 0) {
        put_extra(guest_, netif::extra::xdp, netif::extra_more);
    }
    guest_.publish();
    EXPECT_TRUE(guest_.poll().empty());
    EXPECT_STREQ(guest_.out().fault(), fault_text::missing_extra);
}

TEST_F(source_test, an_unknown_extra_info_ends_the_connection)
{
    put_request(guest_, request(0, 200, netif::tx_flag::extra_info));
    put_extra(guest_, netif::extra{6});
    expect_fault(fault_text::extra_type);
}

TEST_F(source_test, segments_of_no_size_end_the_connection)
{
    put_request(guest_, request(0, 200, netif::tx_flag::extra_info));
    put_extra(guest_, netif::extra::gso, 0, {0, 0, netif::gso_tcp_v4});
    expect_fault(fault_text::gso);
}

TEST_F(source_test, segments_of_an_unknown_kind_end_the_connection)
{
    put_request(guest_, request(0, 200, netif::tx_flag::extra_info));
    put_extra(guest_, netif::extra::gso, 0, {100, 0, 3});
    expect_fault(fault_text::gso);
}

TEST_F(source_test, more_requests_than_slots_end_the_connection)
{
    guest_.front().tx().field(netif::ring_field::req_prod).store(netif::ring_size + 1);
    EXPECT_EQ(guest_.receive(), rx_queue::poll::empty);
    EXPECT_STREQ(guest_.out().fault(), fault_text::index);
    EXPECT_EQ(guest_.front().tx().field(netif::ring_field::rsp_prod).load(), 0U);
}

TEST_F(source_test, a_full_ring_is_no_breach)
{
    for (unsigned i = 0; i < netif::ring_size; ++i) {
        guest_.send(a_frame(60));
    }
    EXPECT_EQ(guest_.poll_all().size(), netif::ring_size);
    EXPECT_EQ(guest_.out().fault(), nullptr);
}

// ---- what is left undone ----

TEST_F(source_test, blank_checksums_become_an_intent)
{
    for (const bool ipv6 : {false, true}) {
        for (const std::uint8_t protocol : {std::uint8_t{6}, std::uint8_t{17}}) {
            const ip_frame shape{.ipv6 = ipv6, .protocol = protocol, .payload = 1000};
            guest_.send(shape.build(true), {.checksum_blank = true});
            guest_.publish();
            ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
            ASSERT_EQ(guest_.burst().size(), 1U);
            const auto& intent = guest_.burst().front().offload;
            EXPECT_EQ(intent.required, ipv6 ? offloads::checksum_ipv6 : offloads::checksum_ipv4);
            EXPECT_EQ(intent.checksum_start, shape.transport());
            EXPECT_EQ(intent.checksum_offset, protocol == 6 ? 16U : 6U);
            EXPECT_EQ(intent.segment_size, 0U);
            guest_.release();
            guest_.reap();
        }
    }
    EXPECT_EQ(okay(), 4U);
}

TEST_F(source_test, segments_to_cut_become_an_intent)
{
    for (const bool ipv6 : {false, true}) {
        const ip_frame shape{.ipv6 = ipv6, .payload = 40'000};
        guest_.send(shape.build(true),
                    {.checksum_blank = true, .segment_size = 1448, .segments_ipv6 = ipv6});
        guest_.publish();
        ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
        ASSERT_EQ(guest_.burst().size(), 1U);
        const auto& p = guest_.burst().front();
        EXPECT_EQ(p.offload.segment_size, 1448U);
        EXPECT_EQ(dataplane::segmentation_of(p.offload),
                  ipv6 ? segmentation::tcp_ipv6 : segmentation::tcp_ipv4);
        EXPECT_EQ(p.offload.header_length, shape.header_length());
        EXPECT_EQ(strait::test::bytes_of(p), shape.build(true));
        guest_.release();
        guest_.reap();
    }
    EXPECT_EQ(errors(), 0U);
}

TEST_F(source_test, an_extra_info_gets_the_null_answer)
{
    const ip_frame shape{.payload = 3000};
    guest_.send(shape.build(true), {.checksum_blank = true, .segment_size = 1000});
    EXPECT_EQ(guest_.poll_all().size(), 1U);
    EXPECT_EQ(response_at(guest_, 0).status, netif::status::okay);
    EXPECT_EQ(response_at(guest_, 1).status, netif::status::null);
}

// The longest headers that IPv4 and TCP have, in two tags: 142 bytes.
TEST_F(source_test, headers_longer_than_the_head_are_read_whole)
{
    for (const std::size_t payload : {0U, 10U, 40U, 60U, 3000U}) {
        const ip_frame shape{
            .tags = {0x8100, 0x8100}, .ip_options = 40, .tcp_options = 40, .payload = payload};
        const bool cut = payload > 1000;
        guest_.send(
            shape.build(true),
            {.checksum_blank = true, .segment_size = static_cast<std::uint16_t>(cut ? 1000 : 0)});
        guest_.publish();
        ASSERT_EQ(guest_.receive(), rx_queue::poll::taken) << payload;
        ASSERT_EQ(guest_.burst().size(), 1U) << payload;
        const auto& p = guest_.burst().front();
        EXPECT_EQ(p.offload.checksum_start, shape.transport());
        EXPECT_EQ(p.offload.header_length, shape.header_length());
        EXPECT_EQ(p.head_length, std::min(shape.size(), dataplane::longest_head));
        EXPECT_EQ(strait::test::bytes_of(p), shape.build(true));
        guest_.release();
        guest_.reap();
    }
    EXPECT_EQ(errors(), 0U);
}

TEST_F(source_test, headers_behind_the_head_that_cannot_be_read_are_an_error)
{
    const ip_frame shape{.ip_options = 40, .tcp_options = 40};
    const std::uint16_t cuts[] = {dataplane::head_copy}; // the rest is in a slot of its own
    const auto at = guest_.front().tx().producer();
    guest_.send(shape.build(true), {.checksum_blank = true}, cuts);
    guest_.send(a_frame(60));
    netif::tx_request r{};
    std::memcpy(&r, guest_.front().tx().slot(at + 1), sizeof r);
    ASSERT_TRUE(guest_.domain().end(grant_ref{r.grant}));
    EXPECT_THAT(guest_.poll_all(), ElementsAre(a_frame(60)));
    EXPECT_EQ(errors(), 2U) << "both slots";
    EXPECT_EQ(guest_.worker().drops(drop_reason::grant_error), 1U);
    EXPECT_EQ(guest_.state().counters.source_errors.read(), 1U);
}

TEST_F(source_test, an_offload_that_its_headers_do_not_bear_out_is_an_error)
{
    guest_.send(a_frame(60), {.checksum_blank = true}); // no IP
    const ip_frame shape{.ipv6 = true, .payload = 3000};
    guest_.send(shape.build(true),
                {.checksum_blank = true, .segment_size = 1000, .segments_ipv6 = false});
    guest_.send(a_frame(60));
    EXPECT_THAT(guest_.poll_all(), ElementsAre(a_frame(60)));
    EXPECT_EQ(errors(), 2U);
    EXPECT_EQ(response_at(guest_, 2).status, netif::status::null)
        << "its extra info's answer stays";
    EXPECT_EQ(guest_.worker().drops(drop_reason::bad_offload), 2U);
}

TEST_F(source_test, hashes_and_headroom_of_the_guests_are_passed_over)
{
    put_request(guest_, request(0, 60, netif::tx_flag::extra_info));
    put_extra(guest_, netif::extra::hash, netif::extra_more, {1, 1, 2, 3, 4, 5});
    put_extra(guest_, netif::extra::xdp, 0, {128});
    std::memcpy(guest_.front().tx_page(0), a_frame(60).data(), 60);
    guest_.publish();
    EXPECT_THAT(guest_.poll(), ElementsAre(a_frame(60)));
    EXPECT_EQ(response_at(guest_, 1).status, netif::status::null);
    EXPECT_EQ(response_at(guest_, 2).status, netif::status::null);
}

// ---- multicasts ----

TEST_F(source_test, multicasts_are_added_and_removed)
{
    const std::array<std::uint8_t, 6> mac{0x33, 0x33, 0, 0, 0, 1};
    const dataplane::mac_address address{strait::test::mac_value("33:33:00:00:00:01")};
    EXPECT_FALSE(guest_.state().multicasts.wants(address));
    ASSERT_TRUE(guest_.front().send_multicast(true, mac));
    guest_.send(a_frame(60));
    EXPECT_THAT(guest_.poll_all(), ElementsAre(a_frame(60)));
    EXPECT_TRUE(guest_.state().multicasts.wants(address));
    ASSERT_TRUE(guest_.front().send_multicast(false, mac));
    EXPECT_TRUE(guest_.poll_all().empty());
    EXPECT_FALSE(guest_.state().multicasts.wants(address));
    EXPECT_EQ(okay(), 3U);
}

TEST_F(source_test, a_multicast_too_many_is_an_error)
{
    for (unsigned i = 0; i < multicast_filter::capacity + 2; ++i) {
        const std::array<std::uint8_t, 6> mac{0x33, 0x33, 0, 0, 1, static_cast<std::uint8_t>(i)};
        ASSERT_TRUE(guest_.front().send_multicast(true, mac));
        (void)guest_.poll_all();
    }
    EXPECT_EQ(okay(), multicast_filter::capacity);
    EXPECT_EQ(errors(), 2U);
    // One that is there already is no other.
    ASSERT_TRUE(guest_.front().send_multicast(true, {{0x33, 0x33, 0, 0, 1, 0}}));
    (void)guest_.poll_all();
    EXPECT_EQ(errors(), 2U);
}

// ---- grants ----

TEST_F(source_test, a_grant_that_fails_costs_its_own_frame_alone)
{
    enum class wrong { revoked, foreign, beyond, never };
    for (const auto kind : {wrong::revoked, wrong::foreign, wrong::beyond, wrong::never}) {
        const std::uint64_t errors_before = errors();
        guest_.send(a_frame(100, 1));
        const auto at = guest_.front().tx().producer();
        guest_.send(a_frame(100, 2));
        guest_.send(a_frame(100, 3));
        std::byte* const slot = guest_.front().tx().slot(at);
        netif::tx_request r{};
        std::memcpy(&r, slot, sizeof r);
        const auto reserved = guest_.domain().reserve().value();
        switch (kind) {
        case wrong::revoked:
            ASSERT_TRUE(guest_.domain().end(grant_ref{r.grant}));
            break;
        case wrong::foreign:
            guest_.domain().regrant(grant_ref{r.grant}, domain_id{99}, guest_.front().tx_page(r.id),
                                    true);
            break;
        case wrong::beyond:
            r.grant = 0xffff'fff0;
            break;
        case wrong::never:
            r.grant = static_cast<std::uint32_t>(reserved);
            break;
        }
        std::memcpy(slot, &r, sizeof r);
        EXPECT_THAT(guest_.poll_all(), ElementsAre(a_frame(100, 1), a_frame(100, 3)));
        EXPECT_EQ(errors(), errors_before + 1);
        guest_.domain().unreserve(reserved);
    }
    EXPECT_EQ(guest_.worker().drops(drop_reason::grant_error), 4U);
    EXPECT_EQ(guest_.state().counters.source_errors.read(), 4U);
    EXPECT_EQ(guest_.out().fault(), nullptr) << "a driver may lose a page and go on";
}

TEST_F(source_test, payload_that_is_taken_back_is_an_error_and_counted)
{
    guest_.worker().pool = nullptr;
    guest_.send(a_frame(3000));
    guest_.publish();
    ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
    guest_.burst().front().remote->unreadable = true; // as who needed it found
    guest_.release();
    guest_.reap();
    EXPECT_EQ(errors(), 1U);
    EXPECT_EQ(guest_.state().counters.source_errors.read(), 1U);
}

TEST_F(source_test, a_frame_of_a_head_alone_is_not_blamed_for_an_earlier_ones_payload)
{
    guest_.send(a_frame(3000));
    guest_.publish();
    ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
    guest_.burst().front().remote->unreadable = true;
    guest_.release();
    guest_.send(a_frame(60));
    EXPECT_THAT(guest_.poll_all(), ElementsAre(a_frame(60)));
    EXPECT_EQ(okay(), 1U);
    EXPECT_EQ(errors(), 1U);
}

TEST_F(source_test, mbufs_of_packets_that_became_local_are_freed)
{
    strait::test::start_eal();
    const auto pool = strait::test::make_pool(64);
    guest_.worker().pool = pool.get();
    for (int i = 0; i < 100; ++i) {
        guest_.send(a_frame(3000));
        guest_.publish();
        ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
        dataplane::packet* const p[] = {&guest_.burst().front()};
        dataplane::localise(p, pool.get());
        ASSERT_NE(p[0]->mbuf, nullptr) << "after " << i;
        guest_.release();
        guest_.reap();
    }
    EXPECT_EQ(rte_mempool_avail_count(pool.get()), 64U);
}

// ---- telling the guest, and being told ----

TEST_F(source_test, the_guest_is_told_once_a_burst_and_only_when_it_asks)
{
    (void)guest_.told();
    for (int i = 0; i < 20; ++i) {
        guest_.send(a_frame(60));
    }
    (void)guest_.poll_all(); // it asked for the first, as a new ring does
    EXPECT_TRUE(guest_.told());
    EXPECT_EQ(guest_.state().counters.notifications.read(), 1U);
    guest_.send(a_frame(60));
    (void)guest_.poll_all(); // and did not ask again
    EXPECT_FALSE(guest_.told());
    ASSERT_TRUE(guest_.front().may_sleep());
    guest_.send(a_frame(60));
    guest_.send(a_frame(60));
    (void)guest_.poll_all();
    EXPECT_TRUE(guest_.told());
    EXPECT_EQ(guest_.state().counters.notifications.read(), 2U);
}

TEST_F(source_test, an_event_wanted_later_comes_then)
{
    const unchanging_reads it_is_wanted_until_then;
    auto event = guest_.front().tx().field(netif::ring_field::rsp_event);
    event.store(3);
    for (unsigned i = 1; i <= 4; ++i) {
        guest_.send(a_frame(60));
        (void)guest_.poll_all();
        EXPECT_EQ(guest_.told(), i == 3) << i;
    }
}

TEST_F(source_test, a_guest_that_is_polled_need_not_tell_us)
{
    for (int i = 0; i < 300; ++i) {
        guest_.send(a_frame(60));
        (void)guest_.poll_all();
    }
    EXPECT_EQ(guest_.front().tx().field(netif::ring_field::req_event).load(), 1U)
        << "as the guest set it up: left alone while it is polled";
    EXPECT_EQ(guest_.front().counts().notifications, 2U) << "one for each ring, when it was new";
}

bool readable(const source& s)
{
    pollfd p{.fd = s.waker(), .events = POLLIN, .revents = 0};
    return ::poll(&p, 1, 0) == 1;
}

TEST_F(source_test, a_guest_tells_a_worker_that_is_about_to_sleep)
{
    for (int i = 0; i < 300; ++i) {
        guest_.send(a_frame(60));
        (void)guest_.poll_all();
    }
    source& out = guest_.out();
    const std::uint64_t told = guest_.front().counts().notifications;
    EXPECT_FALSE(out.waits());
    EXPECT_TRUE(readable(out)) << "it was told of the ring when that was new";
    EXPECT_TRUE(out.ask_to_wake(true));
    EXPECT_FALSE(readable(out));

    guest_.send(a_frame(60));
    guest_.publish();
    EXPECT_EQ(guest_.front().counts().notifications, told + 1);
    EXPECT_TRUE(readable(out));
    EXPECT_TRUE(out.waits());
    EXPECT_EQ(guest_.poll().size(), 1U);
    EXPECT_FALSE(out.waits());
    EXPECT_TRUE(out.ask_to_wake(true));
    EXPECT_FALSE(readable(out));
}

TEST_F(source_test, what_comes_before_it_is_asked_for_is_seen)
{
    (void)guest_.poll_all();
    guest_.send(a_frame(60));
    guest_.publish();
    EXPECT_TRUE(guest_.out().waits());
    EXPECT_FALSE(guest_.out().ask_to_wake(false));
}

TEST_F(source_test, a_ring_that_cannot_be_gone_on_with_keeps_nobody_awake)
{
    guest_.front().tx().field(netif::ring_field::req_prod).store(netif::ring_size + 1);
    EXPECT_EQ(guest_.receive(), rx_queue::poll::empty);
    ASSERT_NE(guest_.out().fault(), nullptr);
    EXPECT_FALSE(guest_.out().waits());
    EXPECT_EQ(guest_.out().waker(), -1);
    auto event = guest_.front().tx().field(netif::ring_field::req_event);
    event.store(77);
    EXPECT_TRUE(guest_.out().ask_to_wake(false));
    EXPECT_EQ(event.load(), 77U) << "nothing is asked of it any more";
}

// ---- credit ----

TEST_F(source_test, frames_beyond_the_rate_wait_in_the_guests_ring)
{
    const unchanging_reads of_what_waits;
    constexpr std::uint64_t period = 10'000; // microseconds
    wired_guest slow{lab_, *hypervisor_, {.rate = credit{200'000, period, tsc_hz}}};
    slow.worker().step = 0;
    for (int i = 0; i < 12; ++i) {
        slow.send(a_frame(40'000), {}, {}, 0);
    }
    slow.publish();
    std::size_t first = 0;
    while (slow.receive() == rx_queue::poll::taken) {
        first += slow.burst().size();
        slow.release();
        ASSERT_LE(first, 5U);
    }
    EXPECT_EQ(first, 5U);
    EXPECT_EQ(slow.worker().all_drops(), 0U);
    slow.worker().now += period * (tsc_hz / 1'000'000) - 1;
    EXPECT_EQ(slow.receive(), rx_queue::poll::empty);
    slow.worker().now += 1;
    EXPECT_EQ(slow.poll().size(), 5U);
    slow.worker().now += period * (tsc_hz / 1'000'000);
    EXPECT_EQ(slow.poll().size(), 2U);
}

TEST_F(source_test, a_frame_passes_even_a_rate_that_is_smaller_than_it)
{
    const unchanging_reads of_what_waits;
    wired_guest slow{lab_, *hypervisor_, {.rate = credit{1000, 1000, tsc_hz}}};
    slow.worker().step = 0;
    slow.send(a_frame(65'000));
    slow.publish();
    int periods = 0;
    while (slow.receive() == rx_queue::poll::empty) {
        slow.worker().now += 1000 * (tsc_hz / 1'000'000);
        ASSERT_LT(++periods, 70);
    }
    slow.release();
    EXPECT_GT(periods, 60);
}

// ---- taking over what another process left ----

TEST_F(source_test, frames_that_nobody_answered_are_sent_again)
{
    const unchanging_reads one_process_after_the_other;
    guest_.send(a_frame(100, 1));
    guest_.send(a_frame(9000, 2));
    guest_.publish();
    ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
    guest_.restart(); // amid the burst
    guest_.send(a_frame(100, 3));
    EXPECT_THAT(guest_.poll_all(), ElementsAre(a_frame(100, 1), a_frame(9000, 2), a_frame(100, 3)));
    EXPECT_EQ(okay(), 5U);
    EXPECT_TRUE(guest_.front().violation().empty()) << guest_.front().violation();
}

class half_answered : public source_test {
protected:
    const unchanging_reads one_process_after_the_other_;

    // Writes the answers of these slots as release() does, without publishing them.
    void answer(std::uint32_t at, std::int16_t status)
    {
        netif::tx_request r{};
        std::memcpy(&r, guest_.front().tx().slot(at), sizeof r);
        const netif::tx_response a{.id = r.id, .status = status};
        std::memcpy(guest_.front().tx().slot(at), &a, sizeof a);
    }
    void answer_extra(std::uint32_t at, std::uint16_t first_id)
    {
        const netif::tx_response a{.id = first_id, .status = netif::status::null};
        std::memcpy(guest_.front().tx().slot(at), &a, sizeof a);
    }
    std::uint16_t id_at(std::uint32_t at)
    {
        netif::tx_request r{};
        std::memcpy(&r, guest_.front().tx().slot(at), sizeof r);
        return r.id;
    }
};

TEST_F(half_answered, frames_whose_answers_were_written_are_not_sent_again)
{
    for (std::uint8_t i = 0; i < 10; ++i) {
        guest_.send(a_frame(100, i));
    }
    guest_.publish();
    ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
    for (std::uint32_t i = 0; i < 6; ++i) {
        answer(i, i == 2 ? netif::status::error : netif::status::okay);
    }
    guest_.restart();
    EXPECT_EQ(guest_.out().position(), 6U);
    EXPECT_THAT(guest_.poll_all(),
                ElementsAre(a_frame(100, 6), a_frame(100, 7), a_frame(100, 8), a_frame(100, 9)));
    EXPECT_EQ(okay(), 9U);
    EXPECT_EQ(errors(), 1U);
}

TEST_F(half_answered, at_any_slot_of_a_frame)
{
    const ip_frame shape{.payload = 12'000};
    const frame big = shape.build(true);
    const simulated::frame_extras todo{.checksum_blank = true, .segment_size = 1448};
    for (std::uint32_t answered = 0; answered <= 4; ++answered) {
        const std::uint32_t first = guest_.front().tx().producer();
        guest_.send(big, todo); // a slot, its extra info, two more slots
        ASSERT_EQ(guest_.front().tx().producer(), first + 4);
        guest_.send(a_frame(100, 9));
        guest_.publish();
        ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
        const std::uint16_t id = id_at(first);
        for (std::uint32_t i = 0; i < answered; ++i) {
            if (i == 1) {
                answer_extra(first + 1, id);
            } else {
                answer(first + i, netif::status::okay);
            }
        }
        guest_.restart();
        const auto got = guest_.poll_all();
        if (answered == 0) {
            EXPECT_THAT(got, ElementsAre(big, a_frame(100, 9)));
        } else {
            EXPECT_THAT(got, ElementsAre(a_frame(100, 9))) << answered << " slots were answered";
        }
        ASSERT_TRUE(guest_.front().violation().empty()) << guest_.front().violation();
        ASSERT_EQ(guest_.front().tx().outstanding(), 0U);
    }
    EXPECT_EQ(errors(), 0U);
    EXPECT_EQ(guest_.out().fault(), nullptr);
}

TEST_F(half_answered, of_a_frame_with_several_extra_infos)
{
    put_request(guest_, request(0, 60, netif::tx_flag::extra_info));
    put_extra(guest_, netif::extra::hash, netif::extra_more);
    put_extra(guest_, netif::extra::xdp);
    guest_.send(a_frame(100, 5));
    guest_.publish();
    answer(0, netif::status::okay);
    answer_extra(1, 0);
    answer_extra(2, 0);
    guest_.restart();
    EXPECT_EQ(guest_.out().position(), 3U);
    EXPECT_THAT(guest_.poll(), ElementsAre(a_frame(100, 5)));
}

TEST_F(half_answered, nothing_is_guessed_of_a_new_ring)
{
    // A driver whose grants and ids happen to be the same numbers.
    netif::tx_request r = request(0, 100);
    guest_.domain().regrant(grant_ref{20}, hypervisor_->own_domain(), guest_.front().tx_page(0),
                            true);
    r.grant = 20;
    r.id = 20;
    std::memcpy(guest_.front().tx_page(0), a_frame(100, 1).data(), 100);
    put_request(guest_, r);
    guest_.publish();
    EXPECT_THAT(guest_.poll(), ElementsAre(a_frame(100, 1)));
}

TEST_F(half_answered, an_index_out_of_range_is_found_later)
{
    guest_.front().tx().field(netif::ring_field::req_prod).store(1000);
    guest_.restart();
    EXPECT_EQ(guest_.receive(), rx_queue::poll::empty);
    EXPECT_STREQ(guest_.out().fault(), fault_text::index);
}

} // namespace
} // namespace strait::xen::test
