// SPDX-License-Identifier: BSD-3-Clause
// Bursts at a guarded port: what goes on, what is answered, what control is shown.
#include "dataplane/guard/inspector.hh"

#include "dataplane/endpoint/messages.hh"
#include "dataplane/guard/seen_addresses.hh"
#include "tests/unit/dataplane/guard/frames.hh"

#include <gtest/gtest.h>

namespace strait::guard {
namespace {

using namespace testing_support;
using dataplane::drop_reason;

class inspected : public testing::Test {
protected:
    inspected() { at_.g->security = false; }

    // How many of the frames go on. `segment_size`: of what is still to be cut.
    std::size_t inspect(const std::vector<bytes>& frames, std::uint16_t segment_size = 0)
    {
        frames_ = frames; // their payload is not copied
        out_.clear();
        burst_->clear();
        for (const bytes& f : frames_) {
            dataplane::packet_slot& p = burst_->slots[burst_->count++];
            place(p, f, *burst_);
            p.offload.segment_size = segment_size;
        }
        passed_ =
            &inspector_.inspect(*burst_, {at_.config, at_.guarded_port(), *counters_, tsc_}, out_);
        return passed_->count;
    }
    [[nodiscard]] std::uint64_t dropped(drop_reason r) const
    {
        return counters_->drops[static_cast<std::size_t>(r)].read();
    }
    void snoop(dhcp_role role)
    {
        at_.g->dhcp = role;
        at_.g->outlet = std::make_shared<dhcp_outlet>(1);
        at_.g->dhcp_limit = std::make_shared<dataplane::policer>(dataplane::port_rate{.packets = 1},
                                                                 1'000'000'000, 1, 0);
    }
    void take_bpdus()
    {
        at_.g->bpdus = std::make_shared<dataplane::bpdu_channel>(1);
        at_.g->bpdu_limit = std::make_shared<dataplane::bpdu_limit>(1'000'000'000, 1, 0);
    }
    // Bytes of the oldest message that control is shown; empty: none.
    bytes shown()
    {
        auto& ring = *at_.g->outlet->rings[0];
        const dataplane::tap_record* const r = ring.front();
        if (r == nullptr) {
            return {};
        }
        const auto all = dataplane::tap_ring::bytes_of(*r);
        EXPECT_EQ(r->incarnation, at_.port.incarnation);
        const auto* const first = reinterpret_cast<const std::uint8_t*>(all.data());
        bytes out{first, first + all.size()};
        ring.pop();
        return out;
    }

    guarded at_;
    std::vector<bytes> frames_;
    inspector inspector_{dataplane::worker_index{0}};
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst};
    std::unique_ptr<dataplane::port_counters> counters_{new dataplane::port_counters};
    dataplane::output_lists out_;
    dataplane::burst* passed_{nullptr};
    std::uint64_t tsc_{1000};
};

// From a bridge's port, so much longer than it need be.
bytes bpdu(unsigned from, std::size_t more = 0)
{
    return ether({1, 0x80, 0xc2, 0, 0, 0}, mac(from), 39,
                 bytes{0x42, 0x42, 3} + bytes(36) + bytes(more));
}

// Whether control is shown it, as of a port that is not at its limit.
bool show(dataplane::bpdu_channel& channel, const bytes& frame, dataplane::port_index from)
{
    dataplane::port_config in;
    in.index = from;
    dataplane::packet p{};
    p.data = reinterpret_cast<std::byte*>(const_cast<std::uint8_t*>(frame.data()));
    p.length = static_cast<std::uint32_t>(frame.size());
    p.head_length = static_cast<std::uint16_t>(frame.size());
    return channel.show(dataplane::worker_index{0}, p, in, 1);
}

// How many of this port control has been shown; it looks at all that there are.
std::size_t look(dataplane::bpdu_channel& channel, dataplane::port_index at)
{
    auto& ring = *channel.received().front();
    std::size_t found = 0;
    for (const auto* r = ring.front(); r != nullptr; r = ring.front()) {
        found += r->at == at ? 1U : 0U;
        channel.pop(ring);
    }
    return found;
}

const bytes question = ether(everybody, mac(1), 0x0806, arp(1, mac(1), v4(1), v4(2)));

TEST_F(inspected, frames_go_on_in_their_order_without_those_that_lie)
{
    at_.g->security = true;
    std::vector<bytes> frames;
    for (unsigned i = 0; i < 10; ++i) {
        const bytes content = bytes(100, static_cast<std::uint8_t>(i)) + bytes(200);
        frames.push_back(ether(mac(2), mac(1), 0x0800,
                               ipv4(v4(i % 3 == 0 ? 5 : 1), v4(2), 17, udp(1, 2, content))));
    }
    ASSERT_EQ(inspect(frames), 6U);
    EXPECT_NE(passed_, burst_.get());
    EXPECT_EQ(dropped(drop_reason::spoofed_ip), 4U);
    std::size_t at = 0;
    for (unsigned i = 0; i < 10; ++i) {
        if (i % 3 == 0) {
            continue;
        }
        const dataplane::packet& p = passed_->slots[at++];
        bytes whole(frames[i].size());
        ASSERT_EQ(p.length, whole.size());
        dataplane::copy_frame(p, 0, whole.data(), whole.size());
        EXPECT_EQ(whole, frames[i]);
    }
    frames.erase(frames.begin());
    frames.resize(2);
    EXPECT_EQ(inspect(frames), 2U);
    EXPECT_EQ(passed_, burst_.get()) << "nothing is moved where nothing is missing";
}

TEST_F(inspected, a_question_for_a_known_neighbour_is_answered)
{
    at_.g->suppresses = true;
    ASSERT_EQ(inspect({question, ether(mac(2), mac(1), 0x0800, bytes(40))}), 1U);
    const auto answers = out_.packets(here);
    ASSERT_EQ(answers.size(), 1U);
    const dataplane::packet& p = *answers[0];
    bytes frame(p.length);
    dataplane::copy_frame(p, 0, frame.data(), frame.size());
    const bytes wanted = mac(1) + mac(2) + u16(0x0806) + bytes{0, 1, 8, 0, 6, 4, 0, 2} + mac(2) +
                         v4(2) + mac(1) + v4(1);
    frame.resize(wanted.size());
    EXPECT_EQ(frame, wanted);
    EXPECT_EQ(at_.g->answered->load(), 1U);
}

TEST_F(inspected, a_solicitation_for_a_known_neighbour_is_answered)
{
    at_.g->suppresses = true;
    const bytes group{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2};
    const bytes solicits = ether({0x33, 0x33, 0xff, 0, 0, 2}, mac(1), 0x86dd,
                                 icmpv6(v6(1), group, nd(135, v6(2), link_option(1, mac(1)))));
    ASSERT_EQ(inspect({solicits}), 0U);
    const auto answers = out_.packets(here);
    ASSERT_EQ(answers.size(), 1U);
    bytes frame(answers[0]->length);
    dataplane::copy_frame(*answers[0], 0, frame.data(), frame.size());
    bytes advertisement = nd(136, v6(2), link_option(2, mac(2)));
    advertisement[4] = 0x60; // solicited, overrides
    EXPECT_EQ(frame, ether(mac(1), mac(2), 0x86dd, icmpv6(v6(2), v6(1), advertisement)));

    bytes broken = solicits;
    broken[14 + 40 + 2] ^= 1;
    EXPECT_EQ(inspect({broken}), 1U) << "its checksum is wrong";
}

TEST_F(inspected, who_asks_what_is_answered_is_noted)
{
    at_.port.addresses = std::make_shared<seen_addresses>();
    at_.g->suppresses = true;
    ASSERT_EQ(inspect({question}), 0U);
    const auto noted = at_.port.addresses->list(0);
    ASSERT_EQ(noted.size(), 1U);
    EXPECT_EQ(noted[0].address, address_of(v4(1)));
    EXPECT_EQ(noted[0].mac, mac_of(mac(1)));
    at_.port.addresses->forget();
    at_.other_is_up(false);
    ASSERT_EQ(inspect({question}), 1U);
    EXPECT_TRUE(at_.port.addresses->list(0).empty()) << "where it goes on, that is done later";
}

TEST_F(inspected, a_question_in_a_vlan_is_answered_there)
{
    at_.g->suppresses = true;
    ASSERT_EQ(inspect({tagged(question, 7)}), 0U);
    const auto answers = out_.packets(here);
    ASSERT_EQ(answers.size(), 1U);
    bytes frame(answers[0]->length);
    dataplane::copy_frame(*answers[0], 0, frame.data(), frame.size());
    frame.resize(18);
    EXPECT_EQ(frame, mac(1) + mac(9) + u16(0x8100) + u16(7) + u16(0x0806));
    EXPECT_EQ(inspect({tagged(question, 8)}), 1U) << "nobody is known there";
}

TEST_F(inspected, no_question_is_answered_that_the_port_does_not_carry)
{
    at_.g->suppresses = true;
    at_.port.vlan.allowed.reset(7);
    EXPECT_EQ(inspect({tagged(question, 7)}), 1U);
    at_.port.vlan = dataplane::vlan_policy::access(dataplane::vlan_id{7});
    EXPECT_EQ(inspect({tagged(question, 7)}), 1U) << "no tag is allowed";
    EXPECT_EQ(inspect({question}), 0U);
    EXPECT_EQ(inspect({tagged(question, 0)}), 0U) << "a priority alone";
}

TEST_F(inspected, what_is_its_owners_business_is_left_alone)
{
    at_.g->suppresses = true;
    const auto asks = [&](const bytes& to, const bytes& spa, const bytes& tpa) {
        return inspect({ether(to, mac(1), 0x0806, arp(1, mac(1), spa, tpa))});
    };
    EXPECT_EQ(asks(everybody, v4(1), v4(2)), 0U);
    EXPECT_EQ(asks(everybody, v4(0), v4(2)), 1U) << "looks whether it is free";
    EXPECT_EQ(asks(everybody, v4(2), v4(2)), 1U) << "tells that it has it";
    EXPECT_EQ(asks(everybody, v4(1), v4(1)), 1U);
    EXPECT_EQ(asks(everybody, v4(1), v4(3)), 1U) << "nobody's";
    EXPECT_EQ(asks(mac(2), v4(1), v4(2)), 1U) << "looks whether it is still there";
    EXPECT_EQ(inspect({ether(everybody, mac(1), 0x0806, arp(2, mac(1), v4(1), v4(2)))}), 1U);
    const bytes group{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2};
    EXPECT_EQ(inspect({ether({0x33, 0x33, 0xff, 0, 0, 2}, mac(1), 0x86dd,
                             icmpv6(v6(0), group, nd(135, v6(2))))}),
              1U)
        << "duplicate address detection";
    at_.other_is_up(false);
    EXPECT_EQ(asks(everybody, v4(1), v4(2)), 1U) << "its port is down";
}

const bytes all_hosts(4, 0xff);
const bytes request =
    ether(everybody, mac(1), 0x0800, ipv4(v4(0), all_hosts, 17, udp(68, 67, dhcp(1, mac(1)))));
const bytes reply =
    ether(mac(1), mac(2), 0x0800, ipv4(v4(2), v4(1), 17, udp(67, 68, dhcp(2, mac(1)))));

TEST_F(inspected, servers_are_heard_on_trusted_ports_alone)
{
    snoop(dhcp_role::snooped);
    EXPECT_EQ(inspect({reply, request}), 1U);
    EXPECT_EQ(dropped(drop_reason::dhcp_not_trusted), 1U);
    EXPECT_EQ(shown(), request) << "whole, beyond its head";
    EXPECT_EQ(shown(), bytes{});
    snoop(dhcp_role::trusted);
    EXPECT_EQ(inspect({reply, request}), 2U);
    EXPECT_EQ(shown(), reply);
    EXPECT_EQ(shown(), bytes{});
    const bytes six = ether(mac(1), mac(2), 0x86dd, ipv6(v6(2), v6(1), 17, udp(547, 546)));
    EXPECT_EQ(inspect({six}), 1U);
    EXPECT_EQ(shown(), six);
    at_.g->dhcp = dhcp_role::snooped;
    EXPECT_EQ(inspect({six, tagged(reply, 4)}), 0U);
    at_.g->dhcp = dhcp_role::none;
    EXPECT_EQ(inspect({six, reply, request}), 3U);
}

TEST_F(inspected, what_hides_from_snooping_is_dropped)
{
    snoop(dhcp_role::snooped);
    constexpr unsigned more = 0x2000;
    const auto four = [&](const bytes& content, unsigned place) {
        return inspect({ether(mac(2), mac(1), 0x0800, ipv4(v4(1), v4(2), 17, content, place))});
    };
    EXPECT_EQ(four(udp(68, 67, dhcp(1, mac(1))), more), 0U);
    EXPECT_EQ(four(udp(67, 68), more), 0U);
    EXPECT_EQ(four(bytes(4), more), 0U);
    EXPECT_EQ(four(udp(1, 53), more), 1U);
    EXPECT_EQ(four(bytes(4), 9), 1U);
    const auto six = [&](std::uint8_t next, const bytes& content) {
        return inspect({ether(mac(2), mac(1), 0x86dd, ipv6(v6(1), v6(2), next, content))});
    };
    const bytes first{17, 0, 0, 1, 0, 0, 0, 9};
    EXPECT_EQ(six(44, first + udp(546, 547)), 0U);
    EXPECT_EQ(six(44, first + bytes(4)), 0U);
    EXPECT_EQ(six(44, first + udp(1, 53)), 1U);
    EXPECT_EQ(six(60, bytes{17, 31} + bytes(254) + udp(547, 546)), 0U) << "further than is read";
    EXPECT_EQ(six(60, bytes{60, 255} + bytes(6)), 0U) << "cut off";
    EXPECT_EQ(dropped(drop_reason::dhcp_not_trusted), 7U);
    EXPECT_EQ(shown(), bytes{});
}

// Control would be shown the first of them.
TEST_F(inspected, datagrams_that_are_still_to_be_cut_hide_from_snooping)
{
    snoop(dhcp_role::snooped);
    const auto ask = [](const bytes& datagram) {
        return ether(mac(2), mac(1), 0x0800, ipv4(v4(1), v4(2), 17, datagram));
    };
    EXPECT_EQ(inspect({ask(udp(68, 67, dhcp(1, mac(1))))}, 100), 0U);
    EXPECT_EQ(dropped(drop_reason::dhcp_not_trusted), 1U);
    EXPECT_EQ(inspect({ask(udp(1, 443))}, 10), 1U);
    EXPECT_EQ(shown(), bytes{});
}

TEST_F(inspected, clients_that_could_not_be_bound_are_not_heard)
{
    snoop(dhcp_role::snooped);
    const auto of = [](unsigned n, std::size_t more = 0) {
        return ether(everybody, mac(n), 0x0800,
                     ipv4(v4(0), bytes(4, 0xff), 17, udp(68, 67, dhcp(1, mac(n)) + bytes(more))));
    };
    EXPECT_EQ(inspect({of(3)}), 1U);
    at_.g->full = true;
    EXPECT_EQ(inspect({of(3)}), 0U);
    EXPECT_EQ(inspect({of(1)}), 1U) << "who is there may renew";
    EXPECT_EQ(dropped(drop_reason::dhcp_too_many), 1U);
    EXPECT_EQ(inspect({of(1, dhcp_outlet::most_bytes)}), 0U) << "longer than control sees";
    EXPECT_EQ(dropped(drop_reason::dhcp_too_many), 2U);
}

TEST_F(inspected, clients_that_ask_too_often_are_not_heard)
{
    snoop(dhcp_role::snooped);
    const std::vector<bytes> many(dataplane::burst::capacity, request);
    std::size_t went = 0;
    for (int i = 0; i < 4; ++i) {
        went += inspect(many);
    }
    EXPECT_GE(went, dataplane::burst::capacity / 2);
    EXPECT_LE(went, dataplane::burst::capacity + 1);
    EXPECT_EQ(dropped(drop_reason::dhcp_too_many), 4 * many.size() - went);
    for (std::size_t i = 0; i < went; ++i) {
        EXPECT_EQ(shown(), request);
    }
    EXPECT_EQ(shown(), bytes{});
}

TEST_F(inspected, what_control_has_no_room_for_goes_nowhere)
{
    snoop(dhcp_role::trusted);
    const std::vector<bytes> many(dataplane::burst::capacity, reply);
    std::size_t went = 0;
    for (int i = 0; i < 40; ++i) {
        went += inspect(many);
    }
    EXPECT_LT(went, 40 * many.size());
    EXPECT_EQ(dropped(drop_reason::dhcp_too_many), 40 * many.size() - went);
    std::size_t seen = 0;
    while (!shown().empty()) {
        ++seen;
    }
    EXPECT_EQ(seen, went);
}

TEST_F(inspected, who_sends_too_many_bpdus_takes_nothing_from_others_of_the_port)
{
    take_bpdus();
    const std::vector<bytes> flood(dataplane::burst::capacity, bpdu(1));
    std::uint64_t sent = 0;
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(inspect(flood), 0U) << "none goes on, shown or not";
        sent += flood.size();
    }
    const std::uint64_t lost = dropped(drop_reason::bpdu_too_many);
    EXPECT_GE(sent - lost, dataplane::bpdu_limit::burst_of_share / 2);
    EXPECT_LE(sent - lost, dataplane::bpdu_limit::burst_of_share + 1);
    EXPECT_EQ(inspect({bpdu(2), bpdu(2), bpdu(6)}), 0U);
    EXPECT_EQ(dropped(drop_reason::bpdu_too_many), lost) << "others send few";
    EXPECT_EQ(look(*at_.g->bpdus, here), sent - lost + 3);
    tsc_ += 1'000'000'000;
    EXPECT_EQ(inspect({bpdu(1)}), 0U);
    EXPECT_EQ(dropped(drop_reason::bpdu_too_many), lost) << "a second has passed";
}

TEST_F(inspected, who_sends_long_bpdus_takes_no_more_of_the_port_s_room)
{
    take_bpdus();
    // All that one sender may send at once, and control does not look.
    EXPECT_EQ(inspect(std::vector<bytes>(dataplane::bpdu_limit::burst_of_share, bpdu(1, 1400))),
              0U);
    const std::uint64_t lost = dropped(drop_reason::bpdu_too_many);
    EXPECT_EQ(inspect({bpdu(2), bpdu(2), bpdu(6)}), 0U);
    EXPECT_EQ(dropped(drop_reason::bpdu_too_many), lost) << "others have room";
}

TEST_F(inspected, a_port_that_is_sent_many_bpdus_takes_nothing_from_other_ports)
{
    take_bpdus();
    dataplane::bpdu_channel& channel = *at_.g->bpdus;
    // While control does not look: from all that there are, long, and never too fast for the limit.
    for (unsigned i = 0; i < 400; ++i) {
        tsc_ += 1'000'000'000;
        EXPECT_EQ(inspect({bpdu(i, 1400)}), 0U);
    }
    const std::uint64_t lost = dropped(drop_reason::bpdu_too_many);
    EXPECT_GT(lost, 200U);
    for (unsigned i = 0; i < 100; ++i) {
        EXPECT_TRUE(show(channel, bpdu(2), there)) << i;
    }
    EXPECT_EQ(look(channel, here), 400 - lost);
    EXPECT_EQ(inspect({bpdu(1, 1400)}), 0U);
    EXPECT_EQ(dropped(drop_reason::bpdu_too_many), lost) << "control has looked";
}

TEST(bpdus_for_control, find_room_of_each_device_that_there_can_be)
{
    const auto channel = std::make_unique<dataplane::bpdu_channel>(1);
    const bytes frame = bpdu(1, 1400);
    for (int round = 0; round < 5; ++round) { // the ring's end is elsewhere each time
        std::size_t of_first = 0;
        for (std::uint16_t i = 0; i < RTE_MAX_ETHPORTS; ++i) {
            std::size_t shown = 0;
            while (show(*channel, frame, dataplane::port_index{i})) {
                ++shown;
            }
            of_first = i == 0 ? shown : of_first;
            EXPECT_GE(shown, 100U);
            EXPECT_EQ(shown, of_first) << "port " << i << ", round " << round;
        }
        EXPECT_EQ(look(*channel, dataplane::port_index{0}), of_first);
    }
}

} // namespace
} // namespace strait::guard
