// SPDX-License-Identifier: BSD-3-Clause
// Which ports multicast goes to, of what was said before: through L2 switching, without workers.
#include "tests/unit/dataplane/multicast/messages.hh"

#include "dataplane/forward.hh"
#include "dataplane/multicast/group_table.hh"

#include <gmock/gmock.h>

#include <memory>
#include <set>

namespace strait::test {
namespace {

using dataplane::drop_reason;
using dataplane::port_config;
using dataplane::port_index;
using dataplane::vlan_id;
using dataplane::vlan_policy;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint32_t router_address = 0x0a00'00fe;
constexpr std::uint32_t group = 0xef01'0203;
constexpr std::uint32_t all_hosts = 0xe000'0001;

// Ports 0 to 4; of 4 queries come.
class snooping : public ::testing::Test {
protected:
    static constexpr std::size_t port_count = 5;
    static constexpr std::size_t querier = 4;

    snooping()
    {
        bridge_->macs = std::make_shared<dataplane::mac_table>(64);
        bridge_->groups = std::make_shared<multicast::group_table>(64);
        for (std::size_t i = 0; i < port_count; ++i) {
            auto port = std::make_shared<port_config>();
            port->index = port_index{static_cast<std::uint16_t>(i)};
            port->incarnation = 1;
            port->vlan = vlan_policy::transparent();
            bridge_->members.push_back(port->index);
            ports_.push_back(port);
            config_.ports.push_back(port);
        }
        config_.bridges.push_back(bridge_);
    }

    [[nodiscard]] multicast::group_table& groups() const { return *bridge_->groups; }

    static frame ethernet(std::uint64_t mac_high, std::uint32_t mac_low, unsigned type,
                          const frame& packet, std::uint16_t vlan)
    {
        frame f = make_frame("01:00:00:00:00:00", "02:00:00:00:00:01", vlan != 0 ? 18 : 14, 1);
        put16(f, 0, static_cast<unsigned>(mac_high));
        put32(f, 2, mac_low);
        if (vlan != 0) {
            put16(f, 12, 0x8100);
            put16(f, 14, vlan);
        }
        put16(f, f.size() - 2, type);
        append(f, packet);
        return f;
    }
    static frame on_wire(const frame& packet, std::uint16_t vlan = 0)
    {
        if (packet[0] >> 4 == 6) {
            return ethernet(0x3333, get32(packet, 36), 0x86dd, packet, vlan);
        }
        const std::uint32_t to = get32(packet, 16);
        return ethernet(0x0100, 0x5e00'0000 | (to & 0x7f'ffff), 0x0800, packet, vlan);
    }
    static frame data(std::uint32_t to, std::uint16_t vlan = 0)
    {
        return on_wire(ip4(router_address, to, frame(20, 7), 17), vlan);
    }
    static frame data6(const frame& to)
    {
        frame f = ip6(link_local, to, frame(20, 7));
        f[6] = 17; // UDP, as far as anybody looks
        return on_wire(f);
    }

    std::vector<std::size_t> send(std::size_t in, const frame& f)
    {
        borrowed_packet packet{f};
        burst_->clear();
        static_cast<dataplane::packet&>(burst_->slots[burst_->count++]) = packet.get();
        dataplane::forward(*burst_, *ports_[in], {&config_, now_, &worker_, learns_, {}, 0},
                           counters_[in], outputs_);
        std::set<std::size_t> out;
        for (const port_index port : outputs_.ports()) {
            out.insert(dataplane::to_index(port));
        }
        outputs_.clear();
        return {out.begin(), out.end()};
    }
    std::vector<std::size_t> query(std::uint32_t source = router_address, std::uint16_t vlan = 0)
    {
        return send(querier, on_wire(ip4(source, all_hosts, igmp(0x11, 100, 0)), vlan));
    }
    std::vector<std::size_t> query6()
    {
        return send(querier, on_wire(ip6(link_local, six_group(1, 2), mld(130, 100, frame(16)))));
    }
    std::vector<std::size_t> join(std::size_t in, std::uint32_t to = group, std::uint16_t vlan = 0)
    {
        return send(in, on_wire(ip4(0x0a00'0001, to, igmp(0x16, 0, to)), vlan));
    }
    std::vector<std::size_t> leave(std::size_t in)
    {
        return send(in, on_wire(ip4(0x0a00'0001, 0xe000'0002, igmp(0x17, 0, group))));
    }
    std::uint64_t drops(std::size_t port, drop_reason reason) const
    {
        return counters_[port].drops[static_cast<std::size_t>(reason)].read();
    }

    std::shared_ptr<dataplane::bridge_config> bridge_{std::make_shared<dataplane::bridge_config>()};
    dataplane::snapshot config_;
    std::vector<std::shared_ptr<port_config>> ports_;
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst};
    std::array<dataplane::port_counters, port_count> counters_{};
    dataplane::worker_counters worker_{};
    dataplane::output_lists outputs_;
    dataplane::seconds_t now_{100};
    bool learns_{true};
};

TEST_F(snooping, without_a_querier_all_is_flooded)
{
    EXPECT_THAT(join(0), ElementsAre(1, 2, 3, 4));
    EXPECT_THAT(send(1, data(group)), ElementsAre(0, 2, 3, 4));
    EXPECT_THAT(query(), ElementsAre(0, 1, 2, 3));
    EXPECT_THAT(send(1, data(group)), ElementsAre(0, 4)) << "learned before, used from now on";
    groups().expire(now_ + multicast::group_table::querier_interval);
    EXPECT_THAT(send(1, data(group)), ElementsAre(0, 2, 3, 4));
}

TEST_F(snooping, sends_to_listeners_and_routers_only)
{
    (void)query();
    EXPECT_THAT(join(0), ElementsAre(4)) << "hosts see no reports of others";
    EXPECT_THAT(join(1), ElementsAre(4));
    EXPECT_THAT(send(2, data(group)), ElementsAre(0, 1, 4));
    EXPECT_THAT(send(0, data(group)), ElementsAre(1, 4));
    EXPECT_THAT(send(querier, data(group)), ElementsAre(0, 1));
    EXPECT_THAT(send(2, data(group + 1)), ElementsAre(0, 1, 3, 4)) << "nobody asked for it";
    EXPECT_THAT(send(2, data(group ^ 0x0080'0000)), ElementsAre(0, 1, 3, 4)) << "the same MAC";
    bridge_->flood_unregistered = false;
    EXPECT_THAT(send(2, data(group + 1)), ElementsAre(4));
    EXPECT_THAT(send(querier, data(group + 1)), IsEmpty());
    EXPECT_EQ(drops(querier, drop_reason::multicast_no_listener), 1U);
}

TEST_F(snooping, networks_own_groups_and_what_is_no_ip_go_everywhere)
{
    bridge_->flood_unregistered = false;
    (void)query();
    (void)query6();
    for (const std::uint32_t to : {0xe000'0001U, 0xe000'0005U, 0xe000'00fbU}) {
        (void)join(0, to);
        EXPECT_THAT(send(2, data(to)), ElementsAre(0, 1, 3, 4));
    }
    EXPECT_EQ(groups().size(), 0U);
    EXPECT_THAT(send(2, data6(six_group(1, 2))), ElementsAre(0, 1, 3, 4));
    EXPECT_THAT(send(2, data6(six_group(0xff00'0001, 2))), ElementsAre(0, 1, 3, 4));
    EXPECT_THAT(send(2, data6(six_group(1, 5))), ElementsAre(4));
    frame f = data(group);
    f[5] ^= 1;
    EXPECT_THAT(send(2, f), ElementsAre(0, 1, 3, 4)) << "not its group's MAC";
    f = data(group);
    put16(f, 12, 0x88b5);
    EXPECT_THAT(send(2, f), ElementsAre(0, 1, 3, 4));
    f = data(group);
    std::fill_n(f.begin(), 6, std::uint8_t{0xff});
    EXPECT_THAT(send(2, f), ElementsAre(0, 1, 3, 4)) << "a broadcast";
    f = data(group);
    f.resize(20);
    EXPECT_THAT(send(2, f), ElementsAre(0, 1, 3, 4)) << "cut";
}

TEST_F(snooping, vlans_and_versions_of_ip_are_apart)
{
    (void)query(router_address, 10);
    EXPECT_THAT(join(0, group, 10), ElementsAre(4));
    EXPECT_THAT(send(2, data(group, 10)), ElementsAre(0, 4));
    EXPECT_THAT(send(2, data(group, 11)), ElementsAre(0, 1, 3, 4));
    EXPECT_THAT(send(2, data(group)), ElementsAre(0, 1, 3, 4));
    EXPECT_THAT(send(2, data6(six_group(9))), ElementsAre(0, 1, 3, 4)) << "no querier of IPv6";
    (void)query6();
    const frame report = records(143, {{4, six_group(9)}});
    EXPECT_THAT(send(1, on_wire(ip6(frame(16), six_group(0x16, 2), report))), ElementsAre(4));
    EXPECT_THAT(send(2, data6(six_group(9))), ElementsAre(1, 4));
}

TEST_F(snooping, leaving)
{
    (void)query();
    (void)join(0);
    (void)join(1);
    EXPECT_THAT(leave(0), ElementsAre(4));
    EXPECT_THAT(send(2, data(group)), ElementsAre(0, 1, 4)) << "others may be behind it";
    // Who does not answer the querier's question goes.
    EXPECT_THAT(send(querier, on_wire(ip4(router_address, group, igmp(0x11, 10, group)))),
                ElementsAre(0, 1, 2, 3));
    now_ += 1;
    (void)join(1);
    groups().expire(now_ + 2);
    EXPECT_THAT(send(2, data(group)), ElementsAre(1, 4));
    ports_[1]->multicast.fast_leave = true;
    (void)leave(1);
    EXPECT_EQ(groups().size(), 0U);
    (void)send(1, on_wire(ip4(1, 0xe000'0016, records(0x22, {{4, four(group)}}))));
    EXPECT_EQ(groups().size(), 1U);
    (void)send(1, on_wire(ip4(1, 0xe000'0016, records(0x22, {{3, four(group)}}))));
    EXPECT_EQ(groups().size(), 0U);
}

TEST_F(snooping, an_isolated_ports_question_ends_nothing)
{
    (void)query();
    (void)join(0);
    ports_[2]->isolated = true;
    (void)send(2, on_wire(ip4(router_address, group, igmp(0x11, 10, group))));
    groups().expire(now_ + 10);
    EXPECT_EQ(groups().size(), 1U);
    ports_[0]->isolated = true;
    EXPECT_THAT(send(2, data(group)), ElementsAre(4)) << "nor does it reach isolated listeners";
}

TEST_F(snooping, routers)
{
    // Without an address it asks, but is no router; it hears reports all the same.
    (void)query(0);
    (void)join(0);
    EXPECT_THAT(join(1), ElementsAre(4));
    EXPECT_THAT(send(2, data(group)), ElementsAre(0, 1));
    (void)send(3, on_wire(ip4(router_address, 0xe000'000d, {0x20, 0, 0, 0}, 103)));
    EXPECT_THAT(send(2, data(group)), ElementsAre(0, 1, 3));
    EXPECT_THAT(join(0), ElementsAre(3, 4));
    ports_[2]->multicast.is_router = multicast::router::always;
    EXPECT_THAT(send(0, data(group)), ElementsAre(1, 2, 3));
    EXPECT_THAT(join(0), ElementsAre(2, 3, 4));
    (void)send(3, on_wire(ip4(router_address, 0xe000'006a, igmp(0x32, 0, 0))));
    EXPECT_THAT(send(0, data(group)), ElementsAre(1, 2));
}

TEST_F(snooping, queries_are_dropped_where_no_router_may_be)
{
    ports_[querier]->multicast.is_router = multicast::router::never;
    EXPECT_THAT(query(), IsEmpty());
    EXPECT_THAT(query6(), IsEmpty());
    EXPECT_EQ(drops(querier, drop_reason::multicast_query), 2U);
    EXPECT_FALSE(groups().has_querier(false, vlan_id{}));
    EXPECT_THAT(join(querier), ElementsAre(0, 1, 2, 3)) << "it may listen";
}

TEST_F(snooping, ports_that_are_sent_all)
{
    (void)query();
    (void)join(0);
    ports_[1]->multicast.flood = true;
    ports_[2]->multicast.flood_reports = true;
    EXPECT_THAT(send(3, data(group)), ElementsAre(0, 1, 4));
    EXPECT_THAT(join(0), ElementsAre(2, 4));
    ports_[3]->local = true;
    EXPECT_THAT(send(2, data(group)), ElementsAre(0, 1, 3, 4)) << "the switch's own";
    ports_[1]->admin_up = false;
    EXPECT_THAT(send(2, data(group)), ElementsAre(0, 3, 4));
}

TEST_F(snooping, made_up_reports_cost_their_port_alone)
{
    (void)query();
    ports_[0]->multicast.limit = 4;
    for (std::uint32_t i = 0; i < 100; ++i) {
        (void)join(0, group + i);
    }
    EXPECT_EQ(groups().size(), 4U);
    (void)join(1, group + 50);
    EXPECT_THAT(send(2, data(group + 50)), ElementsAre(0, 1, 4)) << "what it asked for it gets";
    EXPECT_EQ(groups().counted().refused, 96U);
}

TEST_F(snooping, what_is_damaged_goes_nowhere)
{
    (void)query();
    frame f = on_wire(ip4(1, group, igmp(0x16, 0, group)));
    f.back() ^= 1;
    EXPECT_THAT(send(0, f), IsEmpty());
    EXPECT_EQ(drops(0, drop_reason::multicast_invalid), 1U);
    EXPECT_EQ(groups().size(), 0U);
    EXPECT_THAT(send(0, on_wire(ip4(1, group, igmp(0x99, 0, group)))), ElementsAre(1, 2, 3, 4))
        << "not known: RFC 4541 2.1.1";
}

TEST_F(snooping, who_only_asks_changes_nothing)
{
    learns_ = false;
    (void)query();
    (void)join(0);
    EXPECT_FALSE(groups().has_querier(false, vlan_id{}));
    EXPECT_EQ(groups().size(), 0U);
}

TEST_F(snooping, inner_tags_are_customers_business)
{
    (void)query(router_address, 10);
    (void)join(0, group, 10);
    frame f = data(group, 10);
    const frame inner{0x81, 0, 0, 5};
    f.insert(f.begin() + 16, inner.begin(), inner.end());
    EXPECT_THAT(send(2, f), ElementsAre(0, 1, 3, 4));
}

TEST_F(snooping, long_reports_are_read_wherever_they_lie)
{
    (void)query();
    std::vector<listed> all;
    for (std::uint32_t i = 0; i < 60; ++i) {
        all.push_back({4, four(group + i)});
    }
    EXPECT_THAT(send(0, on_wire(ip4(1, 0xe000'0016, records(0x22, all)))), ElementsAre(4));
    EXPECT_EQ(groups().size(), 60U);
}

} // namespace
} // namespace strait::test
