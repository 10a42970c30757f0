// SPDX-License-Identifier: BSD-3-Clause
// Documents: what is refused of them and where, what differs, and that applying one touches what
// differs and nothing else.
#include "configuration_fixture.hh"
#include "control/config_document.hh"

#include <gmock/gmock.h>

#include <algorithm>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using testing_support::kept_service;

constexpr std::string_view basic = R"({
  "version": 1,
  "bridges": [
    {"name": "br0"}
  ],
  "ports": [
    {"name": "a", "bridge": "br0", "type": "nic", "device": "d0", "number": 5},
    {"name": "b", "bridge": "br0", "type": "vhost-user", "socket": "/b"}
  ],
  "acls": [
    {"name": "web", "rules": [
      "to allow tcp,tp_dst=80"
    ]}
  ],
  "attachments": [
    {"port": "a", "names": "web"}
  ],
  "flows": [
    {"bridge": "br0", "flows": [
      "priority=5,in_port=a actions=output:b",
      "actions=NORMAL"
    ]}
  ]
})";

class documents : public kept_service {
protected:
    json::value give(std::string_view method, std::string_view document)
    {
        return ask(method, json::serialize(json::object{{"document", json::string{document}},
                                                        {"file", "conf"}}));
    }
    std::string apply(std::string_view document)
    {
        const auto done = give("config.apply", document);
        const auto* const why = done.as_object().if_contains("message");
        return why == nullptr ? "" : std::string{std::string_view{why->as_string()}};
    }
    // "add port a", ...
    std::vector<std::string> differences(std::string_view document)
    {
        std::vector<std::string> out;
        const auto answer = give("config.diff", document);
        EXPECT_TRUE(answer.as_object().contains("changes")) << json::serialize(answer);
        for (const auto& c : answer.at("changes").as_array()) {
            out.push_back(std::string{c.at("action").as_string()} + " " +
                          std::string{c.at("what").as_string()});
        }
        for (const auto& l : answer.at("lines").as_array()) {
            for (const char* way : {"removed", "added"}) {
                for (const auto& text : l.at(way).as_array()) {
                    out.push_back((way[0] == 'r' ? "- " : "+ ") + std::string{text.as_string()});
                }
            }
        }
        return out;
    }
    static std::string with(std::string_view from, std::string_view to)
    {
        std::string out{basic};
        EXPECT_NE(out.find(from), std::string::npos) << from;
        out.replace(out.find(from), from.size(), to);
        return out;
    }
};

TEST_F(documents, make_what_they_say_and_show_it_in_one_form)
{
    EXPECT_THAT(differences(basic),
                ElementsAre("add bridge br0", "add port a", "add port b", "add rule set web",
                            "add rule sets of port a", "- priority=0 actions=NORMAL",
                            "+ actions=NORMAL", "+ priority=5,in_port=5 actions=output:1"));
    EXPECT_TRUE(sw().bridges().empty()) << "nothing is done";
    ASSERT_EQ(apply(basic), "");
    EXPECT_EQ(sw().ports().at("a").number, 5);
    EXPECT_EQ(sw().ports().at("b").number, 1);
    EXPECT_THAT(differences(basic), IsEmpty());
    const std::string shown = show();
    EXPECT_THAT(differences(shown), IsEmpty());
    EXPECT_EQ(apply(shown), "");
    EXPECT_EQ(show(), shown);
    restart();
    EXPECT_EQ(show(), shown);
}

TEST_F(documents, touch_nothing_but_what_differs)
{
    ASSERT_EQ(apply(basic), "");
    const auto* const a = sw().ports().at("a").device.get();
    const auto a_config = sw().ports().at("a").config;
    const auto* const b = sw().ports().at("b").device.get();
    fakes_.events.clear();
    const std::string changed =
        with(R"("socket": "/b")", R"("socket": "/b", "mtu": 9000, "vlan": 7)");
    EXPECT_THAT(differences(changed), ElementsAre("change port b"));
    ASSERT_EQ(apply(changed), "");
    EXPECT_EQ(sw().ports().at("b").device.get(), b);
    EXPECT_EQ(sw().ports().at("b").config->mtu, 9000U);
    EXPECT_EQ(sw().ports().at("b").vlan.access, 7);
    EXPECT_EQ(sw().ports().at("a").config, a_config);
    EXPECT_THAT(fakes_.events, ElementsAre("mtu 9000 b"));
    ASSERT_EQ(apply(basic), "") << "and back";
    EXPECT_EQ(sw().ports().at("b").config->mtu, 1500U);
    EXPECT_FALSE(sw().ports().at("b").vlan.access);
    EXPECT_EQ(sw().ports().at("a").device.get(), a);
    // A flow that stays keeps what it counted.
    fakes_.events.clear();
    ASSERT_EQ(apply(with("output:b", "output:b,b")), "");
    EXPECT_THAT(fakes_.events, IsEmpty());
}

TEST_F(documents, make_a_port_anew_with_what_belongs_to_it)
{
    ASSERT_EQ(apply(basic), "");
    const std::string other = with(R"("device": "d0")", R"("device": "d9")");
    EXPECT_THAT(differences(other), ElementsAre("remake port a", "remake rule sets of port a"));
    ASSERT_EQ(apply(other), "");
    EXPECT_EQ(ask("port.show", R"({"name":"a"})").at("options").at("device"), "d9");
    EXPECT_EQ(sw().ports().at("a").number, 5);
    EXPECT_THAT(json::serialize(ask("acl.list")), HasSubstr(R"("ports":["a"])"));
}

TEST_F(documents, take_away_what_they_do_not_have)
{
    ASSERT_EQ(apply(basic), "");
    ASSERT_EQ(why("address.add", R"({"bridge":"br0","address":"10.1.0.1/24"})"), "");
    ASSERT_EQ(why("route.add", R"({"to":"10.2.0.0/16","via":"10.1.0.9"})"), "");
    ASSERT_EQ(why("group.add",
                  R"({"bridge":"br0","groups":"group_id=1,type=all,bucket=actions=group:2\n)"
                  R"(group_id=2,type=all,bucket=actions=output:1"})"),
              "");
    ASSERT_EQ(why("flow.add", R"({"bridge":"br0","flows":"udp,actions=group:1"})"), "");
    ASSERT_EQ(
        why("mirror.add", R"({"name":"m","bridge":"br0","select_all":true,"output_vlan":98})"), "");
    ASSERT_EQ(why("bridge.add", R"({"name":"more"})"), "");
    ASSERT_EQ(apply(basic), "");
    EXPECT_THAT(differences(basic), IsEmpty());
    EXPECT_EQ(sw().bridges().size(), 1U);
    ASSERT_EQ(apply(R"({"version": 1})"), "");
    EXPECT_TRUE(sw().bridges().empty());
    EXPECT_TRUE(sw().ports().empty());
    EXPECT_EQ(show(), R"({"version":1})");
    restart();
    EXPECT_EQ(show(), R"({"version":1})");
}

TEST_F(documents, have_a_bridges_first_flow_unless_they_say_others)
{
    ASSERT_EQ(apply(R"({"version": 1, "bridges": [{"name": "x"}]})"), "");
    EXPECT_EQ(ask("flow.list").at("total"), 1);
    ASSERT_EQ(apply(R"({"version": 1, "bridges": [{"name": "x"}],
                        "flows": [{"bridge": "x", "flows": []}]})"),
              "");
    EXPECT_EQ(ask("flow.list").at("total"), 0);
}

TEST_F(documents, that_fail_in_the_middle_leave_all_as_it_was)
{
    ASSERT_EQ(apply(basic), "");
    ASSERT_EQ(why("binding.add", R"({"port":"b","mac":"02:00:00:00:00:0b"})"), "");
    ASSERT_EQ(why("mac.add", R"({"port":"b","mac":"02:00:00:00:00:0c"})"), "");
    const std::string before = show();
    // b goes and comes back; the new one cannot be made.
    std::string bad =
        with(R"({"name": "b", "bridge": "br0", "type": "vhost-user", "socket": "/b"})",
             R"({"name": "c", "bridge": "br0", "type": "host"},
    {"name": "d", "bridge": "br0", "type": "nic", "device": "d0", "number": 9})");
    bad.replace(bad.find("output:b"), 8, "output:c");
    EXPECT_THAT(apply(bad), testing::AllOf(StartsWith("conf:9:5: ports[2]: "),
                                           HasSubstr("device d0 is held by port a"),
                                           testing::EndsWith("; nothing is changed")));
    EXPECT_EQ(show(), before);
    restart();
    EXPECT_EQ(show(), before);
}

// Ports of NICs on a bridge that runs spanning tree, with these numbers there.
std::string numbered(const std::map<std::string, int>& numbers, std::string_view more = "")
{
    std::string ports;
    for (const auto& [name, number] : numbers) {
        ports += (ports.empty() ? "" : ",\n") + (R"({"name": ")" + name) +
                 R"(", "bridge": "br0", "type": "nic", "device": "d)" + name +
                 R"(", "rstp_port_num": )" + std::to_string(number) + "}";
    }
    return R"({"version": 1, "bridges": [{"name": "br0", "rstp": true}], "ports": [)" + ports +
           std::string{more} + "]}";
}

TEST_F(documents, exchange_numbers_in_spanning_tree)
{
    using numbers = std::map<std::string, int>;
    const auto there = [this] {
        numbers out;
        for (const auto& [name, p] : sw().ports()) {
            out.emplace(name, p.tree_number);
            EXPECT_TRUE(p.tree.number == p.tree_number || p.tree.number == 0) << name;
            EXPECT_TRUE(sw().bridges().at("br0").tree->has_port(p.tree_number)) << name;
        }
        return out;
    };
    ASSERT_EQ(apply(numbered({{"a", 7}, {"b", 8}, {"c", 9}})), "");
    const auto* const a = sw().ports().at("a").device.get();
    for (const numbers& wanted : {
             numbers{{"a", 8}, {"b", 7}, {"c", 9}},           // two exchange them
             numbers{{"a", 7}, {"b", 9}, {"c", 8}},           // all do
             numbers{{"a", 9}, {"b", 8}, {"c", 1}},           // in a row
             numbers{{"a", 2}, {"b", 8}, {"c", 1}, {"d", 9}}, // with one that is new
             numbers{{"a", 8}, {"c", 2}, {"d", 1}},           // and without one
         }) {
        ASSERT_EQ(apply(numbered(wanted)), "");
        EXPECT_EQ(there(), wanted);
        EXPECT_THAT(differences(numbered(wanted)), IsEmpty());
        EXPECT_EQ(sw().ports().at("a").device.get(), a);
    }
    // One that does not say its number has what is left.
    ASSERT_EQ(apply(numbered({{"a", 0}, {"c", 8}, {"d", 1}})), "");
    EXPECT_EQ(there().at("c"), 8);
    EXPECT_EQ(there().at("d"), 1);
    ASSERT_EQ(apply(numbered({{"a", 1}, {"c", 8}, {"d", 0}})), "");
    EXPECT_EQ(there().at("a"), 1);
    EXPECT_EQ(there().at("c"), 8);
    restart();
    EXPECT_EQ(sw().ports().at("a").tree_number, 1);
}

// With another number a port begins anew, and may not forward then.
TEST_F(documents, that_give_a_port_another_number_in_spanning_tree_have_its_stations_forgotten)
{
    ASSERT_EQ(apply(numbered({{"a", 7}, {"b", 8}, {"c", 9}})), "");
    auto& macs = *sw().bridges().at("br0").config->macs;
    std::uint64_t station = 0;
    for (const auto* const name : {"a", "b", "c"}) {
        (void)macs.learn({dataplane::mac_address{0x02 | (++station << 40U)}, dataplane::vlan_id{5}},
                         sw().ports().at(name).config->index, sw().engine().now());
    }
    ASSERT_EQ(apply(numbered({{"a", 8}, {"b", 7}, {"c", 9}})), "");
    std::vector<dataplane::port_index> left;
    macs.for_each(sw().engine().now(),
                  [&](const dataplane::mac_entry& e) { left.push_back(e.port); });
    EXPECT_THAT(left, testing::ElementsAre(sw().ports().at("c").config->index));
}

TEST_F(documents, that_fail_behind_an_exchange_of_numbers_take_it_back)
{
    ASSERT_EQ(apply(numbered({{"a", 7}, {"b", 8}})), "");
    const std::string before = show();
    EXPECT_THAT(
        apply(numbered({{"a", 8}, {"b", 7}},
                       R"(, {"name": "z", "bridge": "br0", "type": "nic", "device": "da"})")),
        testing::AllOf(HasSubstr("device da is held by port a"),
                       testing::EndsWith("; nothing is changed")));
    EXPECT_EQ(show(), before);
    EXPECT_EQ(sw().ports().at("a").tree_number, 7);
    EXPECT_EQ(sw().ports().at("b").tree_number, 8);
    EXPECT_EQ(apply(numbered({{"a", 7}, {"b", 7}})),
              "conf:2:1: ports[1]: the number 7 in spanning tree is that of port a, too");
    EXPECT_EQ(show(), before);
}

struct mistake {
    std::string_view from; // in the basic document
    std::string_view to;
    std::string_view says;
};

class mistakes : public documents, public testing::WithParamInterface<mistake> {};

TEST_P(mistakes, are_named_with_their_place_and_change_nothing)
{
    const std::string document = with(GetParam().from, GetParam().to);
    for (const bool empty : {true, false}) {
        if (!empty) {
            ASSERT_EQ(apply(basic), "");
        }
        const std::string before = show();
        EXPECT_THAT(apply(document), StartsWith(GetParam().says));
        EXPECT_EQ(show(), before);
        EXPECT_THAT(json::serialize(give("config.diff", document)), HasSubstr("message"));
    }
}

INSTANTIATE_TEST_SUITE_P(
    , mistakes,
    testing::Values(
        mistake{R"("version": 1,)", R"("version": 1,,)", "conf:2:16: this is not JSON: "},
        mistake{R"("version": 1,)", "", R"(conf:1:1: "version" is missing: the format is 1)"},
        mistake{R"("version": 1,)", R"("version": 2,)",
                "conf:2:14: version: this is a newer straitd's format; this one reads 1"},
        mistake{R"("version": 1,)", R"("version": "1",)", "conf:2:14: version: this must be 1"},
        mistake{R"("bridges": [)", R"("brigdes": [)",
                "conf:3:14: brigdes: a configuration has no such part; did you mean bridges?"},
        mistake{R"([
    {"name": "br0"}
  ])",
                R"({"br0": {}})", "conf:3:14: bridges: this must be a list, [ ... ]"},
        mistake{R"({"name": "br0"})", R"("br0")",
                "conf:4:5: bridges[0]: this must be an object, { ... }"},
        mistake{R"({"name": "br0"})", R"({"name": "br0", "mac_ageing": -1})",
                R"(conf:4:35: bridges[0].mac_ageing: "mac_ageing" is -1; it must be an integer)"},
        mistake{R"({"name": "br0"})", R"({"name": "br0"}, {"name": "br0"})",
                "conf:4:22: bridges[1]: bridge br0 is there twice; the first is in line 4"},
        mistake{R"("device": "d0")", R"("device": "d0", "vaal": 3)",
                R"(conf:7:75: ports[0].vaal: there is no parameter "vaal"; did you mean "vlan"?)"},
        mistake{R"("device": "d0", )", "",
                "conf:7:5: ports[0]: a port of type nic needs \"device\""},
        mistake{R"("bridge": "br0", "type": "vhost-user")",
                R"("bridge": "br1", "type": "vhost-user")",
                "conf:8:5: ports[1]: there is no bridge br1 in this configuration"},
        mistake{R"("socket": "/b")", R"("socket": "/b", "number": 5)",
                "conf:8:5: ports[1]: the number 5 is that of port a, too"},
        mistake{"to allow tcp,tp_dst=80", "to pass tcp", "conf:12:7: acls[0].rules[0]: column 4: "},
        mistake{R"("port": "a", "names": "web")", R"("port": "x", "names": "web")",
                "conf:16:5: attachments[0]: there is no port x in this configuration"},
        mistake{R"("names": "web")", R"("names": "nets")",
                "conf:16:5: attachments[0]: there is no rule set nets in this configuration"},
        mistake{R"({"bridge": "br0", "flows")", R"({"bridge": "brX", "flows")",
                "conf:19:5: flows[0]: there is no bridge brX in this configuration"},
        mistake{"in_port=a actions", "in_prt=a actions",
                "conf:20:7: flows[0].flows[0]: column 12: "},
        mistake{"output:b", "output:nobody", "conf:20:7: flows[0].flows[0]: column "},
        mistake{"output:b", "group:7", "conf:20:7: flows[0].flows[0]: there is no group 7"},
        mistake{R"("actions=NORMAL")", "7", "conf:21:7: flows[0].flows[1]: this must be a line"}));

TEST_F(documents, of_several_parts_are_their_clients)
{
    ASSERT_EQ(why("config.begin", "{}"), "");
    const std::string text{basic};
    for (std::size_t at = 0; at < text.size(); at += 100) {
        ASSERT_EQ(why("config.put",
                      json::serialize(json::object{{"upload", 1}, {"text", text.substr(at, 100)}})),
                  "");
    }
    EXPECT_EQ(why("config.commit", R"({"upload":1,"file":"conf"})"), "");
    EXPECT_THAT(differences(basic), IsEmpty());
    EXPECT_THAT(why("config.commit", R"({"upload":1})"), HasSubstr("has begun no such document"));
    EXPECT_THAT(why("config.put", R"({"upload":9,"text":"x"})"), HasSubstr("has begun no such"));
    EXPECT_THAT(why("config.apply", "{}"), HasSubstr("there is no document"));
}

TEST_F(documents, keep_what_is_configured_and_is_not_there)
{
    ASSERT_EQ(apply(basic), "");
    const std::string before = show();
    fakes_.fail_make = "there is no such NIC";
    restart();
    EXPECT_THAT(differences(before), IsEmpty());
    ASSERT_EQ(apply(before), "");
    EXPECT_THAT(differences(show()), IsEmpty());
    // And forget what they do not have.
    const std::string less = R"({"version": 1, "bridges": [{"name": "br0"}]})";
    ASSERT_EQ(apply(less), "");
    EXPECT_THAT(show(), testing::Not(HasSubstr("missing")));
    fakes_.fail_make.clear();
    restart();
    EXPECT_TRUE(sw().ports().empty());
}

TEST_F(documents, bring_options_of_geneve_before_flows_that_name_them_and_take_them_behind)
{
    const auto document = [](std::string_view options, std::string_view flows) {
        return R"({"version": 1, "bridges": [{"name": "br0"}], "options": [)" +
               std::string{options} + R"(], "flows": [{"bridge": "br0", "flows": [)" +
               std::string{flows} + "]}]}";
    };
    const std::string first =
        R"({"bridge": "br0", "options": "{class=0x102,type=0x80,len=4}->tun_metadata0"})";
    const std::string second =
        R"({"bridge": "br0", "options": "{class=0x102,type=0x81,len=8}->tun_metadata1"})";
    const std::string of_first = R"("tun_metadata0=0x7 actions=drop")";
    const std::string of_second = R"("tun_metadata1=0x8 actions=drop")";
    const std::string both = document(first + ',' + second, of_first + ',' + of_second);
    ASSERT_EQ(apply(both), "");
    EXPECT_THAT(differences(both), IsEmpty());
    const std::string shown = show();
    EXPECT_THAT(shown, HasSubstr("tun_metadata1=0x8 actions=drop"));
    restart();
    EXPECT_EQ(show(), shown);

    const std::string less = document(second, of_second);
    EXPECT_THAT(differences(less), ElementsAre("remove option of Geneve br0 options "
                                               "{class=0x102,type=0x80,len=4}->tun_metadata0",
                                               "- tun_metadata0=0x7 actions=drop"));
    ASSERT_EQ(apply(less), "");
    EXPECT_THAT(differences(less), IsEmpty());
    EXPECT_EQ(apply(R"({"version": 1})"), "") << "with its bridge";

    EXPECT_THAT(apply(document(first, of_second)),
                HasSubstr("tun_metadata1 is no option of Geneve that the bridge knows"));
    EXPECT_THAT(apply(document(first + ',' + first, "")), HasSubstr("is there twice"));
    EXPECT_THAT(apply(document(R"({"bridge": "br0", "options": "{class=1,type=1,len=4}->)"
                               R"(tun_metadata0,{class=1,type=2,len=4}->tun_metadata1"})",
                               "")),
                HasSubstr("each option is an entry of its own here"));
    EXPECT_TRUE(sw().bridges().empty());
}

} // namespace
} // namespace strait::control
