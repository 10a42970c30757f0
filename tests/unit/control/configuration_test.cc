// SPDX-License-Identifier: BSD-3-Clause
// What requests change is there again after a restart, for every method of which the table says so;
// and what cannot be there is not lost.
#include "configuration_fixture.hh"
#include "control/method_table.hh"
#include "control/methods.hh"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing_support::kept_service;

// Of each method that changes what is kept: a request that does, on what prepare() makes.
struct example {
    std::string_view method;
    std::string_view parameters;
};
constexpr auto examples = std::to_array<example>({
    {"bridge.add",
     R"({"name":"br7","forward_bpdu":true,"mac_ageing":17,"mac_table_size":128,"flow_limit":99,
         "dhcp_snooping":true,"neigh_suppress":true,"mac":"02:00:00:00:00:77",
         "mcast_snooping":true,"mcast_drop_unregistered":true,"mcast_ageing":30,
         "mcast_table_size":64,"loop_guard":"damp","loop_hold":60})"},
    {"bridge.add",
     R"({"name":"br8","rstp":true,"rstp_priority":4096,"rstp_hello_time":1,"rstp_max_age":6,
         "rstp_forward_delay":4,"rstp_hold_count":9,"rstp_version":"stp"})"},
    {"bridge.set", R"({"name":"br0","rstp":true,"rstp_max_age":21})"},
    {"bridge.set", R"({"name":"br0","mac_ageing":5,"mac":"02:00:00:00:00:78","flow_limit":1000,
         "mcast_snooping":true,"mcast_ageing":31,"loop_guard":"off","loop_hold":5})"},
    {"bridge.del", R"({"name":"br1","with_ports":true})"},
    {"port.add",
     R"({"name":"c","bridge":"br0","type":"vhost-user","socket":"/c","socket_mode":"0660",
         "queues":4,"trunk":["10-12",20],"native":1,"tag_type":"802.1ad","mtu":9000,"admin":"down",
         "number":77,"ingress_rate":1000,"egress_packet_rate":50,"port_security":true,
         "dhcp_trust":true,"isolated":true,"storm_broadcast":100,"storm_multicast":200,
         "mac_limit":2,"mcast_router":"off","mcast_flood":true,"mcast_limit":9})"},
    {"port.set",
     R"({"name":"a","vlan":9,"mtu":1600,"admin":"down","egress_rate":5,"egress_burst":6,
         "ingress_packet_rate":7,"ingress_packet_burst":8,"shape_rate":900,"port_security":true,
         "isolated":true,"storm_unknown_unicast":300,"mac_limit":7,
         "mcast_router":"on","mcast_flood_reports":true,"mcast_fast_leave":true,
         "mcast_limit":0})"},
    {"port.set",
     R"({"name":"a","rstp_port_num":7,"rstp_port_priority":16,"rstp_path_cost":5,
         "rstp_admin_edge":true,"rstp_auto_edge":false,"rstp_point_to_point":"on"})"},
    {"port.set", R"({"name":"a","rstp":false})"},
    {"port.del", R"({"name":"b"})"},
    {"port.rename", R"({"name":"a","to":"z"})"},
    {"mac.add", R"({"mac":"02:00:00:00:00:01","port":"a","vlan":5})"},
    {"mac.del", R"({"mac":"02:00:00:00:00:02","bridge":"br0"})"},
    {"xen.adopt", ""}, // where there is a hypervisor: in xen_adoption_test.cc
    {"xen.release", ""},
    {"binding.add", R"({"port":"a","mac":"02:00:00:00:00:0A","addresses":"10.0.0.9,fd00::/64"})"},
    {"binding.del", R"({"port":"a","mac":"02:00:00:00:00:0b","addresses":"10.0.0.5"})"},
    {"address.add", R"({"bridge":"br1","address":"10.9.0.1/24","vlan":3})"},
    {"address.del", R"({"bridge":"br0","address":"10.1.0.2/24"})"},
    {"route.add", R"({"to":"10.3.0.0/16","via":"10.1.0.3"})"},
    {"route.del", R"({"to":"10.2.0.0/16"})"},
    {"flow.add",
     R"({"bridge":"br0","flows":"table=3,priority=7,cookie=0x5,idle_timeout=600,tcp,in_port=a,)"
     R"(tp_dst=80,actions=output:b"})"},
    {"flow.mod", R"({"bridge":"br0","flows":"priority=5,in_port=a,actions=drop"})"},
    {"flow.del", R"({"bridge":"br0","flows":"in_port=b"})"},
    {"flow.replace", R"({"bridge":"br0","flows":"udp,actions=group:1"})"},
    {"flow.commit", R"({"bundle":1})"},
    {"group.add",
     R"({"bridge":"br0","groups":"group_id=9,type=select,bucket=weight:3,actions=output:a,)"
     R"(bucket=actions=group:1"})"},
    {"group.mod", R"({"bridge":"br0","groups":"group_id=1,type=all,bucket=actions=output:b"})"},
    {"group.del", R"({"bridge":"br0","groups":"group_id=2"})"},
    {"group.insert-buckets",
     R"({"bridge":"br0","groups":"group_id=1,command_bucket_id=last,bucket=bucket_id:7,)"
     R"(actions=output:b"})"},
    {"group.remove-buckets", R"({"bridge":"br0","groups":"group_id=1,command_bucket_id=all"})"},
    {"meter.add", R"({"bridge":"br0","meters":"meter=5 pktps bands=type=drop rate=7"})"},
    {"meter.mod", R"({"bridge":"br0","meters":"meter=1 kbps bands=type=drop rate=9"})"},
    {"meter.del", R"({"bridge":"br0","meters":"meter=1"})"},
    {"mirror.add",
     R"({"name":"m2","bridge":"br0","select_src_port":"a","select_vlan":["5-7"],
         "select_flow":"tcp,tp_dst=80","output_vlan":99,"snaplen":100})"},
    {"mirror.del", R"({"name":"m1"})"},
    {"acl.set",
     R"({"name":"db","rules":"from allow tcp\nto  drop udp,tp_dst=53","stateless":true})"},
    {"acl.del", R"({"name":"spare"})"},
    {"acl.attach", R"({"names":"more","port":"a"})"},
    {"acl.detach", R"({"names":"web","port":"a"})"},
    {"shaper.set", R"({"port":"s","class":2,"rate":100,"ceil":500,"burst":50,"priority":3,
                       "limit":50,"limit_bytes":100000,"max_wait":7})"},
    {"shaper.del", R"({"port":"s","class":1})"},
    {"ct.limit", R"({"zone":7,"set":50})"},
    {"queue.pin", R"({"port":"a","queue":0,"worker":1})"},
    {"queue.unpin", R"({"port":"b","queue":0})"},
    {"tlv-map.add", R"({"bridge":"br0","options":"{class=0x102,type=0x81,len=8}->tun_metadata1"})"},
    {"tlv-map.del", R"({"bridge":"br1","options":"tun_metadata0"})"},
    {"config.apply", R"({"document":"{\"version\":1,\"bridges\":[{\"name\":\"only\"}]}"})"},
    {"config.commit", R"({"upload":1})"},
});

class prepared : public kept_service {
protected:
    void done(std::string_view method, std::string_view parameters)
    {
        ASSERT_EQ(why(method, parameters), "") << method << " " << parameters;
    }
    void prepare()
    {
        done("bridge.add", R"({"name":"br0"})");
        done("bridge.add", R"({"name":"br1"})");
        done("port.add", R"({"name":"a","bridge":"br0","type":"nic","device":"d0"})");
        done("port.add", R"({"name":"b","bridge":"br0","type":"vhost-user","socket":"/b"})");
        done("port.add", R"({"name":"other","bridge":"br1","type":"vhost-user","socket":"/o"})");
        done("port.add", R"({"name":"s","bridge":"br0","type":"nic","device":"d1",
                             "shape_rate":10000,"shape_burst":80})");
        done("shaper.set", R"({"port":"s","class":1,"rate":10})");
        done("mac.add", R"({"mac":"02:00:00:00:00:02","port":"b"})");
        done("binding.add", R"({"port":"a","mac":"02:00:00:00:00:0b",
                                "addresses":"10.0.0.5,10.0.0.6"})");
        done("address.add", R"({"bridge":"br0","address":"10.1.0.1/24"})");
        done("address.add", R"({"bridge":"br0","address":"10.1.0.2/24"})");
        done("port.set", R"({"name":"br0","mtu":1400})");
        done("route.add", R"({"to":"10.2.0.0/16","via":"10.1.0.9"})");
        for (const auto* const bridge : {"br0", "br1"}) {
            done("tlv-map.add",
                 std::string{R"({"bridge":")"} + bridge +
                     R"(","options":"{class=0x102,type=0x80,len=4}->tun_metadata0"})");
        }
        done("meter.add", R"({"bridge":"br0","meters":"meter=1 kbps bands=type=drop rate=100"})");
        done("group.add",
             R"({"bridge":"br0","groups":"group_id=1,type=all,bucket=actions=output:a"})");
        done("group.add",
             R"({"bridge":"br0","groups":"group_id=2,type=all,bucket=actions=output:b"})");
        done("flow.add", R"({"bridge":"br0","flows":"tun_metadata0=7,actions=)"
                         R"(set_field:0x8->tun_metadata0,output:b"})");
        done("flow.add",
             R"({"bridge":"br0","flows":"priority=5,in_port=a,actions=meter:1,output:b\n)"
             R"(in_port=b,actions=group:2\nudp,actions=normal"})");
        done("acl.set", R"({"name":"web","rules":"to allow tcp,tp_dst=80"})");
        done("acl.set", R"({"name":"more","rules":"to allow udp"})");
        done("acl.set", R"({"name":"spare","rules":""})");
        done("acl.attach", R"({"names":"web","port":"a"})");
        done("ct.limit", R"({"set":1000})");
        done("ct.limit", R"({"port":"b","set":10})");
        done("queue.pin", R"({"port":"b","queue":0,"worker":0})");
        done("mirror.add", R"({"name":"m1","bridge":"br0","select_all":true,"output_vlan":98})");
    }
    // What comes in several requests.
    void begin(std::string_view method)
    {
        if (method == "flow.commit") {
            done("flow.begin", R"({"bridge":"br0"})");
            done("flow.put", R"({"bundle":1,"flows":"icmp,actions=drop"})");
        }
        if (method == "config.commit") {
            done("config.begin", "{}");
            done("config.put",
                 R"({"upload":1,"text":"{\"version\":1,\"bridges\":[{\"name\":\"up\"}]}"})");
        }
    }
};

class every_method : public prepared, public testing::WithParamInterface<example> {};

TEST(methods_that_change_something, say_whether_it_is_kept_and_have_an_example)
{
    for (const method& m : methods()) {
        EXPECT_EQ(m.keeps != kept::undecided, m.changes)
            << m.name << ": say by `keeps` whether a restart brings back what it changes";
        const bool has_example =
            std::ranges::find(examples, m.name, &example::method) != examples.end();
        EXPECT_EQ(has_example, m.keeps == kept::configuration) << m.name;
    }
}

TEST_P(every_method, changes_what_is_there_again_after_a_restart)
{
    const auto& [method, parameters] = GetParam();
    if (parameters.empty()) {
        return;
    }
    prepare();
    begin(method);
    const std::string before = show();
    done(method, parameters);
    const std::string after = show();
    EXPECT_NE(before, after) << "it changes nothing that config show shows";
    EXPECT_THAT(after, testing::Not(HasSubstr("missing")));
    restart();
    EXPECT_EQ(show(), after);
    EXPECT_EQ(restored_.failed, 0U);
    // What was made again is not written again, and is there after another time.
    restart();
    EXPECT_EQ(show(), after);
}

INSTANTIATE_TEST_SUITE_P(, every_method, testing::ValuesIn(examples), [](const auto& of) {
    std::string name{of.param.method};
    std::ranges::replace_if(
        name, [](char c) { return c == '.' || c == '-'; }, '_');
    return name + '_' + std::to_string(of.index);
});

class changes : public prepared {};

TEST_F(changes, that_are_refused_keep_nothing)
{
    prepare();
    const std::string before = show();
    EXPECT_NE(why("port.set", R"({"name":"a","native":3})"), "");
    EXPECT_NE(why("flow.add", R"({"bridge":"br0","flows":"actions=group:77"})"), "");
    EXPECT_NE(why("bridge.del", R"({"name":"br0"})"), "");
    restart();
    EXPECT_EQ(show(), before);
}

TEST_F(changes, keep_numbers_of_ports_that_are_there_when_others_have_gone)
{
    prepare();
    ASSERT_EQ(ask("port.show", R"({"name":"s"})").at("number"), 4);
    ASSERT_EQ(why("port.del", R"({"name":"a"})"), "");
    restart();
    EXPECT_EQ(ask("port.show", R"({"name":"s"})").at("number"), 4);
    EXPECT_EQ(ask("port.show", R"({"name":"b"})").at("number"), 2);
}

TEST_F(changes, are_refused_on_a_full_disk_with_nothing_changed)
{
    prepare();
    const std::string before = show();
    stop();
    disk_.set_room(100);
    start();
    EXPECT_EQ(show(), before) << "what is kept is read all the same";
    for (const auto& [method, parameters] : examples) {
        if (!parameters.empty()) {
            EXPECT_THAT(why(method, parameters), HasSubstr("No space left on device")) << method;
        }
    }
    EXPECT_EQ(show(), before);
    disk_.set_room(1U << 30U);
    EXPECT_EQ(why("port.set", R"({"name":"a","mtu":2000})"), "");
    const std::string after = show();
    EXPECT_NE(before, after);
    restart();
    EXPECT_EQ(show(), after);
}

TEST_F(changes, of_a_large_bundle_are_refused_whole_where_they_have_no_room)
{
    prepare();
    stop();
    disk_.set_room(std::uint64_t{9} << 20U); // for the journal as it begins
    start();
    const std::string before = show();
    std::string flows;
    for (int i = 0; i < 4000; ++i) {
        flows += "priority=" + std::to_string(i) + ",tcp,tp_dst=" + std::to_string(i) +
                 ",actions=output:a\\n";
    }
    ASSERT_EQ(why("flow.begin", R"({"bridge":"br0"})"), "");
    for (int i = 0; i < 16; ++i) {
        std::string part = flows;
        ASSERT_EQ(why("flow.put", R"({"bundle":1,"flows":")" + flows + R"(","command":"add"})"),
                  "");
        const std::string from = "tcp,tp_dst=";
        for (auto at = flows.find(from); at != std::string::npos; at = flows.find(from, at + 1)) {
            flows.replace(at, from.size(), i % 2 == 0 ? "udp,tp_dst=" : from);
        }
    }
    const auto refused = why("flow.commit", R"({"bundle":1})");
    if (!refused.empty()) {
        EXPECT_THAT(refused, HasSubstr("No space left on device"));
        EXPECT_EQ(show(), before);
    }
}

TEST_F(changes, that_remove_a_bridge_remove_its_flows_from_the_store)
{
    prepare();
    ASSERT_EQ(why("flow.add", R"({"bridge":"br1","flows":"tcp,actions=drop"})"), "");
    ASSERT_EQ(why("bridge.del", R"({"name":"br1","with_ports":true})"), "");
    restart();
    ASSERT_EQ(why("bridge.add", R"({"name":"br1"})"), "");
    EXPECT_EQ(ask("flow.list", R"({"bridge":"br1"})").at("total"), 1);
    restart();
    EXPECT_EQ(ask("flow.list", R"({"bridge":"br1"})").at("total"), 1);
}

TEST_F(changes, that_remove_the_first_flow_are_kept_like_others)
{
    prepare();
    ASSERT_EQ(why("flow.del", R"({"bridge":"br1"})"), "");
    restart();
    EXPECT_EQ(ask("flow.list", R"({"bridge":"br1"})").at("total"), 0);
}

class what_cannot_be_there : public prepared {};

TEST_F(what_cannot_be_there, does_not_stop_the_rest_and_is_not_lost)
{
    prepare();
    const std::string before = show();
    fakes_.fail_make = "there is no such NIC";
    restart();
    EXPECT_GT(restored_.failed, 4U) << "ports, and what belongs to them";
    EXPECT_GT(restored_.made, 4U);
    EXPECT_TRUE(sw().bridges().contains("br0"));
    EXPECT_FALSE(sw().ports().contains("a"));
    const auto shown = ask("config.show").as_object();
    EXPECT_THAT(json::serialize(shown.at("missing")),
                HasSubstr(R"({"what":"port a","why":"there is no such NIC"})"));
    // But for what is said of it, the configuration is what it was.
    auto rest = shown;
    rest.erase("missing");
    EXPECT_EQ(json::value(rest), json::parse(before));
    // It is tried again, now and then.
    life_->methods.configuration().look(std::chrono::steady_clock::now());
    EXPECT_FALSE(sw().ports().contains("a"));
    restart(); // nothing of it is lost by that
    fakes_.fail_make.clear();
    life_->methods.configuration().look(std::chrono::steady_clock::now() + std::chrono::minutes{1});
    EXPECT_EQ(show(), before);
    fakes_.fail_make.clear();
    restart();
    EXPECT_EQ(show(), before);
    EXPECT_EQ(restored_.failed, 0U);
}

TEST_F(what_cannot_be_there, includes_ports_that_cannot_serve)
{
    prepare();
    const std::string before = show();
    fakes_.fail_start = "the socket cannot be made";
    restart();
    EXPECT_TRUE(sw().ports().contains("br0")) << "its own port needs no socket";
    EXPECT_FALSE(sw().ports().contains("b"));
    EXPECT_THAT(show(), HasSubstr(R"({"what":"port b","why":"the socket cannot be made"})"));
    fakes_.fail_start.clear();
    life_->methods.configuration().look(std::chrono::steady_clock::now() + std::chrono::minutes{1});
    EXPECT_EQ(show(), before);
}

TEST_F(what_cannot_be_there, can_be_removed_with_what_belongs_to_it)
{
    prepare();
    fakes_.fail_make = "there is no such NIC";
    restart();
    EXPECT_EQ(ask("port.del", R"({"name":"a"})"), json::parse(R"({"removed":true})"));
    EXPECT_THAT(show(), testing::Not(HasSubstr(R"("port":"a")")));
    EXPECT_THAT(show(), testing::Not(HasSubstr(R"("name":"a")")));
    EXPECT_THAT(why("port.del", R"({"name":"a"})"), HasSubstr("there is no port a"));
    fakes_.fail_make.clear();
    restart();
    EXPECT_FALSE(sw().ports().contains("a"));
    EXPECT_TRUE(sw().ports().contains("b"));
}

TEST_F(what_cannot_be_there, includes_ports_whose_device_is_taken_away_until_it_is_there_again)
{
    prepare();
    ASSERT_EQ(why("acl.attach", R"({"names":"more","port":"a"})"), "");
    const std::string before = show();
    fakes_.links["a"] = false;
    fakes_.lost["a"] = "device d0 was unplugged";
    fakes_.fail_make = "there is no d0";
    fakes_.events.clear();
    sw().look_at_links();
    auto now = std::chrono::steady_clock::now();
    life_->methods.configuration().look(now);
    EXPECT_THAT(fakes_.events, testing::Contains("destroy a"));
    EXPECT_FALSE(sw().ports().contains("a"));
    EXPECT_TRUE(sw().ports().contains("b"));
    // It is not tried at once: halfway out, it would be said to be something else.
    EXPECT_THAT(show(), HasSubstr(R"({"what":"port a","why":"device d0 was unplugged"})"));
    EXPECT_THAT(show(), HasSubstr(R"({"what":"rule sets of port a","why":"there is no port a"})"));
    now += std::chrono::seconds{4};
    life_->methods.configuration().look(now);
    EXPECT_THAT(show(), HasSubstr(R"({"what":"port a","why":"device d0 was unplugged"})"));
    now += std::chrono::seconds{1};
    life_->methods.configuration().look(now);
    EXPECT_THAT(show(), HasSubstr(R"({"what":"port a","why":"there is no d0"})"));
    restart();
    EXPECT_THAT(show(), HasSubstr(R"({"what":"port a","why":"there is no d0"})"));
    fakes_.lost.clear();
    fakes_.links.clear();
    fakes_.fail_make.clear();
    now += std::chrono::minutes{1};
    life_->methods.configuration().look(now);
    EXPECT_EQ(show(), before);
}

TEST_F(what_cannot_be_there, makes_room_for_what_is_made_in_its_place)
{
    prepare();
    fakes_.fail_make = "there is no such NIC";
    restart();
    fakes_.fail_make.clear();
    EXPECT_EQ(why("port.add", R"({"name":"a","bridge":"br0","type":"host"})"), "");
    restart();
    EXPECT_EQ(ask("port.show", R"({"name":"a"})").at("type"), "host");
}

class leases_of_dhcp : public prepared {};

TEST_F(leases_of_dhcp, are_kept_and_go_when_their_time_is_over)
{
    prepare();
    ASSERT_EQ(why("bridge.set", R"({"name":"br0","dhcp_snooping":true})"), "");
    const auto mac = *dataplane::mac_address::parse("02:00:00:00:00:55");
    const auto now = bindings::clock::now();
    const auto address = [](std::uint32_t last) {
        return endpoint::ip_address::v4(0x0a00'0000 + last);
    };
    sw().restore_leases({{"b", std::nullopt, mac, address(7), now + std::chrono::hours{1}},
                         {"b", std::nullopt, mac, address(8), std::nullopt},
                         {"b", std::nullopt, mac, address(9), now + std::chrono::seconds{1}}});
    life_->methods.configuration().look(now);
    EXPECT_THAT(show(), testing::Not(HasSubstr("02:00:00:00:00:55"))) << "no part of documents";
    stop();
    std::this_thread::sleep_for(std::chrono::milliseconds{1100});
    start();
    const auto list = json::serialize(ask("binding.list", R"({"port":"b"})"));
    EXPECT_THAT(list, HasSubstr("10.0.0.7"));
    EXPECT_THAT(list, HasSubstr(R"("address":"10.0.0.8","type":"dhcp","expires":null)"));
    EXPECT_THAT(list, testing::Not(HasSubstr("10.0.0.9")));
    const auto left = ask("binding.list", R"({"port":"b"})").at(0).at("expires").as_int64();
    EXPECT_GT(left, 3500);
    EXPECT_LE(left, 3600);
    ASSERT_EQ(why("binding.del", R"({"port":"b"})"), "");
    restart();
    EXPECT_TRUE(ask("binding.list", R"({"port":"b"})").as_array().empty());
}

} // namespace
} // namespace strait::control
