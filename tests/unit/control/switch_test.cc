// SPDX-License-Identifier: BSD-3-Clause
// The model of bridges and ports over a real engine with fake ports: order of steps, roll-back,
// indices, numbers, counters.
#include "control/switch.hh"
#include "eal_environment.hh"

#include "tests/soak.hh"
#include "tests/unit/sanitizers.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace strait::control {
namespace {

using dataplane::mac_address;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_support::fake_control;
using testing_support::shared_engine;

class model : public testing::Test {
protected:
    model() : switch_{shared_engine(), testing_support::fake_types(fakes_, shared_engine())}
    {
        EXPECT_TRUE(switch_.add_bridge({.name = "br0"}).has_value());
    }

    static port_request request(const std::string& name, const std::string& bridge = "br0")
    {
        port_request r;
        r.name = name;
        r.bridge = bridge;
        r.type = "nic";
        r.options["device"] = "dev-" + name;
        return r;
    }
    outcome<void> add(const std::string& name) { return switch_.add_port(request(name)); }
    [[nodiscard]] const virtual_switch::port& port(const std::string& name) const
    {
        return switch_.ports().at(name);
    }
    [[nodiscard]] std::vector<std::size_t> members(const std::string& bridge) const
    {
        std::vector<std::size_t> list;
        for (const auto index : switch_.bridges().at(bridge).config->members) {
            list.push_back(dataplane::to_index(index));
        }
        return list;
    }
    template <typename Condition>
    static bool soon(Condition condition)
    {
        for (int i = 0; i < 500; ++i) {
            if (condition()) {
                return true;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds{10});
        }
        return false;
    }

    fake_control fakes_; // outlives the switch's ports
    virtual_switch switch_;
};

TEST_F(model, makes_publishes_and_starts_a_port_in_this_order)
{
    ASSERT_TRUE(add("a").has_value());
    EXPECT_THAT(fakes_.events, ElementsAre("make a", "start a"));
    const auto* published = shared_engine().current().port(port("a").config->index);
    ASSERT_NE(published, nullptr);
    EXPECT_EQ(published->name, "a");
    EXPECT_EQ(published->queues.size(), 1U);
    EXPECT_THAT(members("br0"), ElementsAre(0));
}

TEST_F(model, stops_unpublishes_and_destroys_a_port_in_this_order)
{
    ASSERT_TRUE(add("a").has_value());
    fakes_.events.clear();
    ASSERT_TRUE(switch_.remove_port("a").has_value());
    EXPECT_THAT(fakes_.events, ElementsAre("stop a", "destroy a")); // the fake checks the middle
    EXPECT_THAT(members("br0"), ElementsAre());
    EXPECT_TRUE(shared_engine().current().ports.empty());
}

TEST_F(model, changes_nothing_when_a_port_cannot_be_made)
{
    const auto* before = &shared_engine().current();
    fakes_.fail_make = "no such device";
    const auto done = add("a");
    ASSERT_TRUE(done.has_error());
    EXPECT_EQ(done.error().message, "no such device");
    EXPECT_EQ(done.error().kind, failure_kind::failed);
    EXPECT_TRUE(switch_.ports().empty());
    EXPECT_EQ(&shared_engine().current(), before) << "nothing was published";
}

TEST_F(model, takes_everything_back_when_a_port_does_not_start)
{
    ASSERT_TRUE(add("a").has_value());
    fakes_.fail_start = "the socket cannot be made";
    ASSERT_TRUE(add("b").has_error());
    EXPECT_EQ(switch_.ports().size(), 1U);
    EXPECT_THAT(members("br0"), ElementsAre(0));
    EXPECT_EQ(shared_engine().current().ports.size(), 1U);
    fakes_.fail_start.clear();
    ASSERT_TRUE(add("b").has_value()) << "its number, index and device are free again";
    EXPECT_EQ(port("b").number, 2);
}

TEST_F(model, refuses_what_is_there_already)
{
    ASSERT_TRUE(add("a").has_value());
    EXPECT_THAT(add("a").error().message, HasSubstr("exists already, on bridge br0"));
    EXPECT_EQ(switch_.add_bridge({.name = "br0"}).error().kind, failure_kind::exists);
    auto same = request("b");
    same.options["device"] = "dev-a";
    EXPECT_EQ(switch_.add_port(same).error().message, "device dev-a is held by port a");
    auto numbered = request("c");
    numbered.number = 1;
    EXPECT_THAT(switch_.add_port(numbered).error().message, HasSubstr("1 is port a's"));
    EXPECT_THAT(switch_.add_port(request("d", "br9")).error().message,
                HasSubstr("there is no bridge br9"));
    EXPECT_EQ(fakes_.events.size(), 2U) << "none of these was made";
}

TEST_F(model, gives_the_lowest_free_number_and_keeps_it)
{
    for (const auto* name : {"a", "b", "c"}) {
        ASSERT_TRUE(add(name).has_value());
    }
    auto numbered = request("z");
    numbered.number = 65279;
    ASSERT_TRUE(switch_.add_port(numbered).has_value());
    ASSERT_TRUE(switch_.remove_port("b").has_value());
    EXPECT_EQ(port("c").number, 3);
    ASSERT_TRUE(add("d").has_value());
    EXPECT_EQ(port("d").number, 2);
    EXPECT_EQ(port("z").number, 65279);
}

TEST_F(model, spreads_queues_over_workers_with_the_fewest)
{
    std::vector<std::size_t> load(shared_engine().worker_count(), 0);
    fakes_.queues = 3;
    ASSERT_TRUE(add("a").has_value());
    fakes_.queues = 1;
    ASSERT_TRUE(add("b").has_value());
    for (const auto* name : {"a", "b"}) {
        for (const auto& q : port(name).config->queues) {
            ++load[dataplane::to_index(q.worker)];
        }
    }
    EXPECT_THAT(load, ElementsAre(2, 2));

    // A port's own to different ones, even if one worker has more to do.
    for (const auto* name : {"c", "d", "e"}) {
        ASSERT_TRUE(add(name).has_value());
    }
    ASSERT_TRUE(switch_.remove_port("d").has_value());
    ASSERT_TRUE(switch_.remove_port("b").has_value());
    fakes_.queues = 2;
    ASSERT_TRUE(add("f").has_value());
    const auto& queues = port("f").config->queues;
    EXPECT_NE(queues[0].worker, queues[1].worker);
}

TEST_F(model, reuses_an_index_as_another_incarnation_with_counters_at_zero)
{
    ASSERT_TRUE(add("a").has_value());
    const auto index = port("a").config->index;
    const auto incarnation = port("a").config->incarnation;
    EXPECT_NE(incarnation, 0U);
    fakes_.to_count["a"] = 41;
    ASSERT_TRUE(soon([&] { return switch_.totals(port("a")).rx_packets == 41; }));
    EXPECT_EQ(switch_.totals(port("a"))
                  .drops[static_cast<std::size_t>(dataplane::drop_reason::frame_too_short)],
              41U);
    ASSERT_TRUE(switch_.remove_port("a").has_value());
    ASSERT_TRUE(add("b").has_value());
    EXPECT_EQ(port("b").config->index, index);
    EXPECT_GT(port("b").config->incarnation, incarnation);
    EXPECT_EQ(switch_.totals(port("b")).rx_packets, 0U);
    fakes_.to_count["b"] = 7;
    EXPECT_TRUE(soon([&] { return switch_.totals(port("b")).rx_packets == 7; }));
}

TEST_F(model, shares_what_a_change_does_not_touch)
{
    ASSERT_TRUE(add("a").has_value());
    ASSERT_TRUE(add("b").has_value());
    const auto a = shared_engine().current().ports[0];
    ASSERT_TRUE(switch_.set_port("b", {.mtu = 9000}).has_value());
    EXPECT_EQ(shared_engine().current().ports[0], a);
    EXPECT_EQ(shared_engine().current().ports[1]->mtu, 9000U);
    EXPECT_EQ(port("b").config->mtu, 9000U);
}

TEST_F(model, tells_a_port_whether_it_is_up)
{
    auto down = request("a");
    down.admin_up = false;
    ASSERT_TRUE(switch_.add_port(down).has_value());
    EXPECT_THAT(fakes_.events, ElementsAre("make a", "admin down a", "start a"));
    fakes_.events.clear();
    port_change change;
    change.mtu = 2000;
    ASSERT_TRUE(switch_.set_port("a", change).has_value());
    change.admin_up = true;
    ASSERT_TRUE(switch_.set_port("a", change).has_value());
    EXPECT_THAT(fakes_.events, ElementsAre("mtu 2000 a", "admin up a"));
}

TEST_F(model, changes_nothing_of_a_port_when_one_part_is_refused)
{
    ASSERT_TRUE(add("a").has_value());
    fakes_.fail_mtu = "the device can do at most 1500";
    port_change change;
    change.mtu = 9000;
    change.admin_up = false;
    change.vlan = vlan_settings{.access = 10};
    EXPECT_THAT(switch_.set_port("a", change).error().message, HasSubstr("at most 1500"));
    EXPECT_TRUE(port("a").config->admin_up);
    EXPECT_EQ(port("a").vlan, vlan_settings{});
    EXPECT_EQ(port("a").config->mtu, 1500U);

    port_change native;
    native.native = 5;
    EXPECT_THAT(switch_.set_port("a", native).error().message, HasSubstr("no trunk"));
    EXPECT_THAT(switch_.set_port("x", native).error().message, HasSubstr("there is no port x"));
}

TEST_F(model, makes_policies_of_vlan_settings)
{
    const vlan_settings access{.access = 10};
    EXPECT_EQ(access.policy(), dataplane::vlan_policy::access(dataplane::vlan_id{10}));
    EXPECT_EQ(vlan_settings{}.policy(), dataplane::vlan_policy::transparent());
    const vlan_settings trunk{.trunk = {{10, 20}}, .native = 1};
    EXPECT_EQ(trunk.policy().allowed.count(), 3U);
    EXPECT_EQ(trunk.policy().native.value(), 1);
    EXPECT_EQ(trunk.policy().port_mode, dataplane::vlan_policy::mode::trunk);
    const vlan_settings without_native{.trunk = {{10}}};
    EXPECT_FALSE(without_native.policy().carries(dataplane::vlan_id{0}));
}

TEST_F(model, keeps_a_bridge_that_has_ports)
{
    ASSERT_TRUE(add("a").has_value());
    ASSERT_TRUE(add("b").has_value());
    const auto refused = switch_.remove_bridge("br0", false);
    EXPECT_EQ(refused.error().kind, failure_kind::in_use);
    EXPECT_THAT(refused.error().message, HasSubstr("(a and 1 more)"));
    ASSERT_TRUE(switch_.remove_bridge("br0", true).has_value());
    EXPECT_TRUE(switch_.ports().empty());
    EXPECT_TRUE(shared_engine().current().bridges.empty());
    EXPECT_EQ(switch_.remove_bridge("br0", true).error().kind, failure_kind::not_found);
}

TEST_F(model, has_static_macs_on_ports_that_carry_their_vlan)
{
    ASSERT_TRUE(add("a").has_value());
    const mac_address mac = mac_address::parse("52:54:00:00:00:01").value();
    EXPECT_FALSE(switch_.add_mac("a", mac, std::nullopt).value());
    EXPECT_TRUE(switch_.add_mac("a", mac, std::nullopt).value()) << "replaced";
    port_change change;
    change.vlan = vlan_settings{.access = 10};
    ASSERT_TRUE(switch_.set_port("a", change).has_value());
    EXPECT_THAT(switch_.add_mac("a", mac, 11).error().message, HasSubstr("does not carry VLAN 11"));
    EXPECT_FALSE(switch_.add_mac("a", mac, std::nullopt).value()) << "in VLAN 10 now";
    EXPECT_FALSE(switch_.remove_mac("br0", mac, 0).value()) << "it went with its VLAN";
    change.vlan = vlan_settings{.trunk = std::vector<std::uint16_t>{10, 20}};
    ASSERT_TRUE(switch_.set_port("a", change).has_value());
    EXPECT_TRUE(switch_.remove_mac("br0", mac, 10).value()) << "still carried";
    EXPECT_FALSE(switch_.remove_mac("br0", mac, 10).value());
    EXPECT_FALSE(switch_.add_mac("a", mac, 20).value());
    EXPECT_THAT(
        switch_.add_mac("a", mac_address::parse("01:00:5e:00:00:01").value(), {}).error().message,
        HasSubstr("multicast"));
    // The entry of VLAN 20 goes with the port, so that its index can be another's.
    ASSERT_TRUE(switch_.remove_port("a").has_value());
    EXPECT_EQ(switch_.bridges().at("br0").config->macs->size(shared_engine().now()), 0U);
}

TEST_F(model, forgets_what_was_learned_on_a_port_that_changes_or_loses_its_link)
{
    ASSERT_TRUE(add("a").has_value());
    auto& table = *switch_.bridges().at("br0").config->macs;
    const auto index = port("a").config->index;
    const auto now = shared_engine().now();
    const auto learn = [&] {
        (void)table.learn({mac_address{0x42}, dataplane::vlan_id{}}, index, now);
        return table.size(now);
    };
    fakes_.links["a"] = true;
    switch_.look_at_links();
    ASSERT_EQ(learn(), 1U);
    fakes_.links["a"] = false;
    switch_.look_at_links();
    EXPECT_EQ(table.size(now), 0U);

    ASSERT_EQ(learn(), 1U);
    ASSERT_TRUE(switch_.set_port("a", {.mtu = 2000}).has_value());
    EXPECT_EQ(table.size(now), 1U) << "an MTU moves no MAC";
    port_change change;
    change.vlan = vlan_settings{.access = 10};
    ASSERT_TRUE(switch_.set_port("a", change).has_value());
    EXPECT_EQ(table.size(now), 0U);

    ASSERT_EQ(learn(), 1U);
    ASSERT_TRUE(switch_.flush_macs({}, "a", 7).has_value());
    EXPECT_EQ(table.size(now), 1U);
    ASSERT_TRUE(switch_.flush_macs("br0", {}, {}).has_value());
    EXPECT_EQ(table.size(now), 0U);
    EXPECT_TRUE(switch_.flush_macs("br9", {}, {}).has_error());
    EXPECT_TRUE(switch_.flush_macs({}, "x", {}).has_error());
    ASSERT_TRUE(switch_.add_bridge({.name = "br1"}).has_value());
    EXPECT_THAT(switch_.flush_macs("br1", "a", {}).error().message, HasSubstr("is on bridge br0"));
}

TEST_F(model, held_back_serves_nobody_before_all_is_there)
{
    const auto* before = &shared_engine().current();
    switch_.hold_back();
    ASSERT_TRUE(switch_.add_bridge({.name = "br1"}).has_value());
    ASSERT_TRUE(add("a").has_value());
    ASSERT_TRUE(add("b").has_value());
    port_change change;
    change.vlan = vlan_settings{.access = 10};
    ASSERT_TRUE(switch_.set_port("a", change).has_value());
    EXPECT_EQ(&shared_engine().current(), before);
    EXPECT_THAT(fakes_.events, ElementsAre("make a", "make b"));
    EXPECT_TRUE(switch_.release().empty());
    EXPECT_THAT(fakes_.events, ElementsAre("make a", "make b", "start a", "start b"));
    EXPECT_EQ(shared_engine().current().ports.size(), 2U);
    EXPECT_EQ(shared_engine().current().ports[0]->vlan.native.value(), 10);
}

TEST_F(model, names_the_port_that_could_not_start_after_it_was_held_back)
{
    switch_.hold_back();
    ASSERT_TRUE(add("a").has_value());
    fakes_.fail_start = "no";
    const auto failed = switch_.release();
    ASSERT_FALSE(failed.empty());
    EXPECT_EQ(failed.front().port, "a");
    EXPECT_EQ(failed.front().message, "no");
}

TEST_F(model, bpdus_come_from_their_ports_own_addresses)
{
    const auto source = [this](const std::string& name) {
        return switch_.bpdu_source(switch_.bridges().at("br0"), port(name));
    };
    const mac_address one{0x0100'5452'0000ULL}; // 00:00:52:54:00:01
    const mac_address another{0x0200'5452'0000ULL};
    fakes_.macs = {{"a", one}, {"b", another}};
    ASSERT_TRUE(switch_.set_bridge("br0", {.tree = bridge_tree{.runs = true}}).has_value());
    for (const char* name : {"a", "b", "c", "d"}) {
        ASSERT_TRUE(add(name).has_value());
    }
    EXPECT_EQ(source("a"), one);
    EXPECT_EQ(source("b"), another);

    // Who has none has one of the bridge's making.
    const mac_address bridge = switch_.bridges().at("br0").mac;
    for (const char* name : {"c", "d"}) {
        EXPECT_EQ(source(name).value() & 3, 2U) << name << ": local, and of one";
        EXPECT_NE(source(name), bridge) << name;
    }
    EXPECT_NE(source("c"), source("d"));

    // So has who has another's, the bridge's, or none of one station.
    fakes_.macs["b"] = one;
    EXPECT_NE(source("a"), one);
    EXPECT_NE(source("b"), one);
    EXPECT_NE(source("a"), source("b"));
    fakes_.macs["b"] = bridge;
    EXPECT_EQ(source("a"), one);
    EXPECT_NE(source("b"), bridge);
    fakes_.macs["b"] = mac_address{0x0100'5452'0001ULL};
    EXPECT_FALSE(source("b").is_multicast());
}

TEST_F(model, seconds_of_spanning_tree_pass_whoever_looks_and_none_is_made_up_for)
{
    using namespace std::chrono_literals;
    ASSERT_TRUE(switch_.set_bridge("br0", {.tree = bridge_tree{.runs = true}}).has_value());
    ASSERT_TRUE(add("a").has_value());
    fakes_.links["a"] = true;
    switch_.look_at_links();
    const auto state = [this] { return switch_.tree_of(port("a"))->state; };
    auto due = switch_.keep_trees({}); // none has passed yet
    // Within one second, however often somebody looks, none passes: no bridge is there after three.
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(switch_.keep_trees(due - 1ms), due);
    }
    EXPECT_EQ(state(), stp::state::discarding);
    // Late, but no second is missed; then some are.
    EXPECT_EQ(switch_.keep_trees(due + 400ms), due + 1s);
    due += 1s;
    EXPECT_EQ(switch_.keep_trees(due + 100s), due + 101s);
    due += 101s;
    EXPECT_EQ(state(), stp::state::discarding) << "only two have passed";
    for (int i = 0; i < 4; ++i) {
        due = switch_.keep_trees(due);
    }
    EXPECT_EQ(state(), stp::state::forwarding);
}

TEST_F(model, hellos_are_sent_while_the_control_thread_is_held)
{
    bridge_tree tree{.runs = true};
    tree.settings.hello = 1;
    ASSERT_TRUE(switch_.set_bridge("br0", {.tree = tree}).has_value());
    ASSERT_TRUE(add("a").has_value());
    fakes_.links["a"] = true;
    switch_.look_at_links();
    switch_.look_at_trees();
    const auto sent = [this] { return switch_.totals(port("a")).tx_packets; };
    ASSERT_TRUE(soon([&] { return sent() > 0; }));
    const std::uint64_t before = sent();
    EXPECT_TRUE(soon([&] { return sent() >= before + 3; })) << "though no second passes here";

    // By the worker that has its queue now; the other does not send what is of no queue of its own.
    ASSERT_GE(shared_engine().worker_count(), 2U);
    const std::size_t served = dataplane::to_index(port("a").config->queues.front().worker);
    ASSERT_TRUE(switch_.pin_queue("a", 0, served == 0 ? 1 : 0).has_value());
    std::this_thread::sleep_for(std::chrono::milliseconds{200}); // what was under way
    const std::uint64_t moved = sent();
    EXPECT_TRUE(soon([&] { return sent() >= moved + 2; }));

    // Without a link, which the control thread has noticed, nothing is said of it.
    fakes_.links["a"] = false;
    switch_.look_at_links();
    constexpr std::chrono::milliseconds under_way{200};
    std::this_thread::sleep_for(under_way);
    const std::uint64_t after = sent();
    std::this_thread::sleep_for(std::chrono::milliseconds{1500});
    EXPECT_EQ(sent(), after);
}

TEST_F(model, has_room_for_a_bounded_number_of_ports_and_bridges)
{
    if (test::thread_sanitizer && !test::soaking()) {
        GTEST_SKIP() << "one thread, and a thousand ports: ThreadSanitizer has it with --soak";
    }
    switch_.hold_back(); // a thousand grace periods are not what is tested
    for (std::size_t i = 0; i < dataplane::max_ports; ++i) {
        ASSERT_TRUE(add("p" + std::to_string(i)).has_value()) << i;
    }
    EXPECT_EQ(add("one-more").error().kind, failure_kind::limit);
    for (std::size_t i = 1; i < dataplane::max_bridges; ++i) {
        ASSERT_TRUE(switch_.add_bridge({.name = "b" + std::to_string(i), .mac_table_size = 64})
                        .has_value());
    }
    EXPECT_EQ(switch_.add_bridge({.name = "one-more"}).error().kind, failure_kind::limit);
    EXPECT_TRUE(switch_.release().empty());
    EXPECT_EQ(shared_engine().current().ports.size(), dataplane::max_ports);
    // What goes leaves its room to the next.
    ASSERT_TRUE(switch_.remove_bridge("b1", false).has_value());
    EXPECT_TRUE(switch_.add_bridge({.name = "one-more", .mac_table_size = 64}).has_value());
}

} // namespace
} // namespace strait::control
