// SPDX-License-Identifier: BSD-3-Clause
// Rule sets as packets meet them: compiled, looked up and tracked as workers do it.
#include "control/acl_stages.hh"
#include "control/flow_trace.hh"
#include "dataplane/conntrack/tracker.hh"
#include "dataplane/flow/forward.hh"
#include "dataplane/forward.hh"
#include "dataplane/ip.hh"
#include "eal_environment.hh"
#include "tests/unit/dataplane/remote_guest.hh"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace strait::control {
namespace {

using dataplane::drop_reason;
using dataplane::port_index;
using flow::stage;

using numbers = std::set<unsigned>;

// Three ports; what the first sends goes to the second unless a test says otherwise.
class rule_sets : public testing::Test {
protected:
    static constexpr std::uint16_t port_count = 3;

    rule_sets()
    {
        auto bridge = std::make_shared<dataplane::bridge_config>();
        bridge->macs = std::make_shared<dataplane::mac_table>(1024);
        auto indices = std::make_shared<flow::port_numbers>();
        config_.ports.resize(1);
        for (std::uint16_t i = 1; i <= port_count; ++i) {
            auto port = std::make_shared<dataplane::port_config>();
            port->index = port_index{i};
            port->number = i;
            port->mtu = 9000;
            config_.ports.push_back(port);
            bridge->members.push_back(port->index);
            indices->add(i, port->index);
        }
        config_.bridges.push_back(bridge);
        flows_.set_ports(indices);
        switcher_.set_tracking(tracker_);
        judge_.set_tracking(tracker_);
        change("priority=1,in_port=1,actions=2\npriority=1,in_port=2,actions=1");
    }

    void change(std::string_view text)
    {
        auto bundle = flows_.begin();
        for (const flow_change& c : parse_flow_file(text, "f").value()) {
            ASSERT_TRUE(flows_.apply(bundle, c).has_value());
        }
        ASSERT_TRUE(flows_.commit(std::move(bundle)).has_value());
        publish();
    }
    void publish()
    {
        if (current_) {
            old_.push_back(std::move(current_));
        }
        current_ = flows_.pipeline();
    }
    std::shared_ptr<const acl_set> set(std::string name, std::string_view text,
                                       bool stateful = true)
    {
        auto out = std::make_shared<acl_set>();
        out->name = std::move(name);
        out->stateful = stateful;
        out->rules = read_acl({.text = text, .file = "f"}).value();
        for (std::size_t i = 0; i < out->rules.size(); ++i) {
            out->ids.push_back(++last_id_);
        }
        return out;
    }
    void give(std::uint16_t number, std::vector<std::shared_ptr<const acl_set>> sets)
    {
        std::erase_if(ports_, [number](const acl_port& p) { return p.number == number; });
        ports_.push_back({number, port_index{number}, std::move(sets)});
        flows_.set_stages({{stage::acl_from, compile_acls(ports_, stage::acl_from)},
                           {stage::acl_to, compile_acls(ports_, stage::acl_to)}});
        publish();
    }
    void give(std::uint16_t number, std::string_view rules, bool stateful = true)
    {
        give(number, {set("s", rules, stateful)});
    }

    static std::vector<std::byte> frame(std::string_view words)
    {
        return parse_frame(
                   "dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02," + std::string{words}, {})
            .value()
            .bytes;
    }
    // Ports that have it in the end.
    numbers send(std::uint16_t from, const std::vector<std::byte>& bytes)
    {
        burst_->clear();
        dataplane::packet_slot& p =
            put(std::span{bytes}.first(std::min(bytes.size(), dataplane::head_copy)));
        p.length = static_cast<std::uint32_t>(bytes.size());
        if (p.head_length < bytes.size()) {
            burst_->segments[burst_->segments_used++] = dataplane::guest_span{
                const_cast<std::byte*>(bytes.data()) + p.head_length, bytes.size() - p.head_length};
            p.segment_count = 1;
        }
        return forward(from);
    }
    numbers send(std::uint16_t from, std::string_view words) { return send(from, frame(words)); }
    // Of a guest whose memory the switch cannot address.
    numbers send(std::uint16_t from, const dataplane::packet_slot& remote)
    {
        burst_->clear();
        dataplane::packet_slot& p = put({remote.data, remote.head_length});
        p.length = remote.length;
        p.remote = remote.remote;
        return forward(from);
    }
    dataplane::packet_slot& put(std::span<const std::byte> head)
    {
        dataplane::packet_slot& p = burst_->slots[burst_->count++];
        static_cast<dataplane::packet&>(p) = {};
        p.data = p.head.data();
        std::memcpy(p.data, head.data(), head.size());
        p.head_length = static_cast<std::uint16_t>(head.size());
        p.segments = burst_->segments.data();
        return p;
    }
    numbers forward(std::uint16_t from)
    {
        for (auto& c : counters_) {
            c = std::make_unique<dataplane::port_counters>();
        }
        struct no_lists final : flow::delivery {
            void deliver_lists() noexcept override {}
        } none;
        const dataplane::forward_context context{&config_, 1, &worker_, false};
        switcher_.forward(*burst_, {*current_, *config_.ports[from], context, *counters_[from],
                                    lists_, none, nullptr});
        numbers out;
        for (const port_index to : lists_.ports()) {
            const auto i = to_index(to);
            const auto packets = lists_.packets(to);
            const auto destinations = packets.front()->destinations;
            const auto tagged = packets.front()->tagged;
            const std::size_t stay = judge_.judge(packets, {*current_, *config_.ports[i], context,
                                                            *counters_[i], judged_, none, nullptr});
            if (stay > 0) {
                out.insert(static_cast<unsigned>(i));
            }
            EXPECT_EQ(packets.front()->destinations, destinations) << "it is as it was";
            EXPECT_EQ(packets.front()->tagged, tagged);
            EXPECT_TRUE(judged_.ports().empty());
        }
        lists_.clear();
        return out;
    }
    std::uint64_t dropped(std::uint16_t port, drop_reason reason) const
    {
        return counters_[port]->drops[static_cast<std::size_t>(reason)].read();
    }

    retired_flows retired_{testing_support::shared_engine()};
    bridge_flows flows_{testing_support::shared_engine(), retired_};
    std::vector<acl_port> ports_;
    std::uint32_t last_id_{0};
    std::unique_ptr<const flow::pipeline> current_;
    std::vector<std::unique_ptr<const flow::pipeline>> old_;
    dataplane::snapshot config_;
    conntrack::store store_{{.connections = 4096}};
    conntrack::tracker tracker_{store_};
    flow::switcher switcher_{std::size_t{8} << 20};
    flow::switcher judge_{switcher_};
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst};
    dataplane::output_lists lists_;
    dataplane::output_lists judged_;
    dataplane::worker_counters worker_;
    std::array<std::unique_ptr<dataplane::port_counters>, port_count + 1> counters_;
};

constexpr std::string_view question = "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=7,tp_dst=53";
constexpr std::string_view answer = "udp,nw_src=10.0.0.2,nw_dst=10.0.0.1,tp_src=53,tp_dst=7";

TEST_F(rule_sets, ports_without_any_are_open)
{
    EXPECT_EQ(send(1, question), numbers{2});
    give(3, "to allow arp");
    EXPECT_EQ(send(1, question), numbers{2});
    EXPECT_EQ(send(2, answer), numbers{1});
}

TEST_F(rule_sets, what_a_port_sends_needs_a_rule_and_replies_do_not)
{
    give(1, "from allow udp,tp_dst=53");
    EXPECT_EQ(send(2, answer), numbers{}) << "nobody has asked";
    EXPECT_EQ(dropped(1, drop_reason::acl_to_denied), 1U);
    EXPECT_EQ(send(1, question), numbers{2});
    EXPECT_EQ(send(2, answer), numbers{1});
    EXPECT_EQ(send(1, "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=7,tp_dst=54"), numbers{});
    EXPECT_EQ(dropped(1, drop_reason::acl_from_denied), 1U);
}

TEST_F(rule_sets, what_a_port_is_sent_needs_a_rule_and_replies_do_not)
{
    give(2, "to allow udp,tp_dst=53");
    EXPECT_EQ(send(2, answer), numbers{}) << "nobody has asked";
    EXPECT_EQ(dropped(2, drop_reason::acl_from_denied), 1U);
    EXPECT_EQ(send(1, question), numbers{2});
    EXPECT_EQ(send(2, answer), numbers{1});
    EXPECT_EQ(send(1, "icmp,nw_src=10.0.0.1,nw_dst=10.0.0.2,icmp_type=8"), numbers{});
    EXPECT_EQ(dropped(2, drop_reason::acl_to_denied), 1U);
}

TEST_F(rule_sets, both_ends_judge_for_themselves)
{
    give(1, "from allow udp");
    give(2, "to allow icmp");
    EXPECT_EQ(send(1, question), numbers{});
    EXPECT_EQ(dropped(2, drop_reason::acl_to_denied), 1U);
    give(2, "to allow udp");
    EXPECT_EQ(send(1, question), numbers{2});
    EXPECT_EQ(send(2, answer), numbers{1});
}

TEST_F(rule_sets, a_rule_that_goes_cuts_what_it_allowed)
{
    const auto web = set("web", "from allow udp,tp_dst=53");
    give(1, {web});
    EXPECT_EQ(send(1, question), numbers{2});
    EXPECT_EQ(send(2, answer), numbers{1});
    EXPECT_EQ(send(1, question), numbers{2}) << "established";
    give(1, "from allow icmp");
    EXPECT_EQ(send(1, question), numbers{});
    EXPECT_EQ(dropped(1, drop_reason::acl_from_denied), 1U);
    EXPECT_EQ(send(2, answer), numbers{}) << "nor do answers pass";
    EXPECT_EQ(dropped(1, drop_reason::acl_to_denied), 1U);
    give(1, {web});
    EXPECT_EQ(send(2, answer), numbers{}) << "until the connection is allowed again";
    EXPECT_EQ(send(1, question), numbers{2});
    EXPECT_EQ(send(2, answer), numbers{1});
}

TEST_F(rule_sets, the_first_rule_decides_of_the_first_set_that_has_one)
{
    const auto drops = set("drops", "from drop udp,tp_dst=53\nfrom allow udp,tp_dst=54");
    const auto allows = set("allows", "from allow udp\nfrom drop udp");
    give(1, {drops, allows});
    EXPECT_EQ(send(1, question), numbers{});
    EXPECT_EQ(send(1, "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=7,tp_dst=54"), numbers{2});
    EXPECT_EQ(send(1, "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=7,tp_dst=55"), numbers{2});
    give(1, {allows, drops});
    EXPECT_EQ(send(1, question), numbers{2});
}

TEST_F(rule_sets, stateless_ones_need_a_rule_each_way_and_track_nothing)
{
    give(1, "from allow udp,tp_dst=53", false);
    EXPECT_EQ(send(1, question), numbers{2});
    EXPECT_EQ(send(2, answer), numbers{});
    EXPECT_EQ(dropped(1, drop_reason::acl_to_denied), 1U);
    give(1, "from allow udp,tp_dst=53\nto allow udp,tp_src=53", false);
    EXPECT_EQ(send(2, answer), numbers{1});
    EXPECT_EQ(tracker_.counters.created.read(), 0U);
}

TEST_F(rule_sets, neighbours_are_found_unless_a_rule_says_otherwise)
{
    const std::string arp = "arp,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.2";
    const std::string solicitation = "icmp6,ipv6_src=fe80::1,ipv6_dst=ff02::1,icmp_type=135";
    const std::string advertisement = "icmp6,ipv6_src=fe80::1,ipv6_dst=ff02::1,icmp_type=134";
    for (const bool stateful : {true, false}) {
        give(1, "from allow icmp", stateful);
        give(2, "to allow icmp", stateful);
        EXPECT_EQ(send(1, arp), numbers{2});
        EXPECT_EQ(send(1, solicitation), numbers{2});
        EXPECT_EQ(send(1, advertisement), numbers{}) << "a guest is no router";
        EXPECT_EQ(dropped(1, drop_reason::acl_from_denied), 1U);
        EXPECT_EQ(send(1, "dl_type=0x88cc"), numbers{}) << "of other protocols nothing is";
        EXPECT_EQ(dropped(1, drop_reason::acl_from_denied), 1U);
        give(1, "from drop arp\nfrom drop icmp6,icmp_type=135\nfrom allow icmp6,icmp_type=134",
             stateful);
        EXPECT_EQ(send(1, arp), numbers{});
        EXPECT_EQ(send(1, solicitation), numbers{});
        EXPECT_EQ(send(1, advertisement), numbers{2}) << "unless a rule says otherwise";
    }
}

TEST_F(rule_sets, what_belongs_to_no_connection_and_begins_none_is_dropped)
{
    give(1, "from allow eth");
    give(2, "to allow eth");
    EXPECT_EQ(send(1, "icmp,nw_src=10.0.0.1,nw_dst=10.0.0.2,icmp_type=0"), numbers{});
    EXPECT_EQ(dropped(1, drop_reason::acl_from_invalid), 1U);
    give(1, "from allow eth", false);
    EXPECT_EQ(send(1, "icmp,nw_src=10.0.0.1,nw_dst=10.0.0.2,icmp_type=0"), numbers{});
    EXPECT_EQ(dropped(2, drop_reason::acl_to_invalid), 1U);
}

TEST_F(rule_sets, flows_see_nothing_of_them)
{
    change("delete\n"
           "priority=9,ct_state=+trk,actions=drop\n"
           "priority=9,ct_zone=1,ct_state=+trk,actions=drop\n"
           "priority=9,reg0=1,actions=drop\n"
           "priority=8,udp,in_port=1,actions=ct(commit,zone=1,table=5)\n"
           "priority=8,udp,in_port=2,actions=ct(zone=1,table=5)\n"
           "table=5,priority=1,udp,in_port=1,ct_state=+trk+new,actions=2\n"
           "table=5,priority=1,udp,in_port=2,ct_state=+trk+est,actions=1\n");
    give(1, "from allow udp,tp_dst=53");
    EXPECT_EQ(send(1, question), numbers{2});
    EXPECT_EQ(send(2, answer), numbers{1});
    EXPECT_EQ(store_.limits().used(conntrack::make_zone(1, false)), 1U);
    EXPECT_EQ(store_.limits().used(conntrack::make_zone(1, true)), 1U) << "the port's own zone";
    EXPECT_EQ(flows_.size(), 7U);
}

TEST_F(rule_sets, a_miss_is_one_of_the_table_that_operators_know)
{
    give(1, "from allow eth");
    change("delete\ntable=1,actions=2");
    EXPECT_EQ(send(1, question), numbers{});
    EXPECT_EQ(dropped(1, drop_reason::flow_miss), 1U);
}

TEST_F(rule_sets, of_several_ports_each_lets_out_what_it_may)
{
    change("delete\nin_port=1,actions=2,3");
    give(2, "to drop udp\nto allow eth");
    EXPECT_EQ(send(1, question), numbers{3});
    EXPECT_EQ(dropped(2, drop_reason::acl_to_denied), 1U);
    give(3, "to allow udp");
    EXPECT_EQ(send(1, question), numbers{3});
    change("delete\nin_port=1,actions=flood");
    EXPECT_EQ(send(1, question), numbers{3});
    change("delete\nin_port=1,actions=NORMAL");
    EXPECT_EQ(send(1, question), numbers{3});
    EXPECT_EQ(dropped(2, drop_reason::acl_to_denied), 1U);
}

// IPv6 with options so long that the TCP header lies beyond what is read of a guest's frame at
// first.
std::vector<std::byte> with_long_options(std::uint8_t destination_port)
{
    constexpr std::size_t ethernet = 14;
    constexpr std::size_t options = 88;
    std::vector<std::byte> out(ethernet + 40 + options + 20);
    const auto put = [&out](std::size_t at, unsigned value) {
        out[at] = static_cast<std::byte>(value);
    };
    put(0, 2);
    put(5, 2);
    put(6, 2);
    put(11, 1);
    put(12, 0x86);
    put(13, 0xdd);
    put(14, 0x60);
    put(19, options + 20);
    put(20, 0); // hop-by-hop options
    put(21, 64);
    put(22, 0xfd);
    put(37, 1);
    put(38, 0xfd);
    put(53, 2);
    put(54, dataplane::protocol_tcp);
    put(55, options / 8 - 1);
    put(56, 1); // PadN
    put(57, options - 4);
    const std::size_t tcp = ethernet + 40 + options;
    put(tcp + 1, 9);
    put(tcp + 3, destination_port);
    put(tcp + 12, 0x50);
    put(tcp + 13, 2);
    return out;
}

TEST_F(rule_sets, headers_that_lie_deep_are_seen_all_the_same)
{
    ASSERT_GT(with_long_options(22).size(), dataplane::head_copy);
    for (const bool stateful : {true, false}) {
        give(2, "to drop tcp6,tcp_dst=22\nto allow eth", stateful);
        EXPECT_EQ(send(1, with_long_options(22)), numbers{}) << stateful;
        EXPECT_EQ(dropped(2, drop_reason::acl_to_denied), 1U);
        EXPECT_EQ(send(1, with_long_options(23)), numbers{2}) << stateful;
    }
}

TEST_F(rule_sets, headers_that_lie_deep_in_memory_of_others_are_seen_all_the_same)
{
    const auto deep = [](std::uint8_t destination_port) {
        const std::vector<std::byte> bytes = with_long_options(destination_port);
        strait::test::frame out(bytes.size());
        std::memcpy(out.data(), bytes.data(), bytes.size());
        return out;
    };
    give(2, "to drop tcp6,tcp_dst=22\nto allow eth", false);
    strait::test::remote_guest guest;
    strait::test::remote_packet denied{guest, deep(22)};
    EXPECT_EQ(send(1, denied.get()), numbers{});
    EXPECT_EQ(dropped(2, drop_reason::acl_to_denied), 1U);
    strait::test::remote_packet allowed{guest, deep(23)};
    EXPECT_EQ(send(1, allowed.get()), numbers{2});

    strait::test::remote_packet taken_back{guest, deep(23)};
    guest.take_back(taken_back.reference(0));
    EXPECT_EQ(send(1, taken_back.get()), numbers{2}) << "who cannot send it blames its sender";
    EXPECT_TRUE(taken_back.payload().unreadable);
    EXPECT_TRUE(taken_back.payload().uncounted) << "that is to be counted there, and was not here";
}

TEST_F(rule_sets, what_they_decided_on_is_counted_by_rule)
{
    const auto sum = [this](std::uint32_t id) {
        std::uint64_t out = 0;
        for (const auto& r : flows_.stage_at(stage::acl_from).rules) {
            out += acl_rule_of(*r) == id ? r->packets() : 0;
        }
        return out;
    };
    const auto count = [this] {
        for (std::uint64_t t = 1; !switcher_.entries().settled(); ++t) {
            switcher_.entries().bring_home(t << 40, true);
        }
    };
    auto s = set("s", "from allow udp,tp_dst=53\nfrom drop udp");
    give(1, {s});
    send(1, question);
    send(1, question);
    send(1, "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=7,tp_dst=54");
    count();
    EXPECT_EQ(sum(s->ids[0]), 2U);
    EXPECT_EQ(sum(s->ids[1]), 1U);
    // In another place it is the same rule still.
    auto other = std::make_shared<acl_set>(*set("s", "from drop icmp\nfrom allow udp,tp_dst=53"));
    other->ids[1] = s->ids[0];
    give(1, {other});
    EXPECT_EQ(sum(s->ids[0]), 2U);
    send(1, question);
    count();
    EXPECT_EQ(sum(s->ids[0]), 3U);
}

} // namespace
} // namespace strait::control
