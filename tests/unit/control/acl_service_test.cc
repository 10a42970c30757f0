// SPDX-License-Identifier: BSD-3-Clause
// Rule sets through the control service: how they are made and attached, what is refused, and what
// a trace says of them.
#include "service_fixture.hh"

#include "tests/soak.hh"
#include "tests/unit/sanitizers.hh"

#include <gmock/gmock.h>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

class acls_of_the_service : public testing_support::methods_of_the_service {
protected:
    void SetUp() override
    {
        ask("bridge.add", R"({"name":"br0"})");
        ask("port.add", R"({"name":"a","bridge":"br0","type":"nic","device":"d0"})");
        ask("port.add", R"({"name":"b","bridge":"br0","type":"nic","device":"d1"})");
        set("web", "to allow tcp,tp_dst=80\\nfrom allow udp,tp_dst=53");
    }
    json::value set(std::string_view name, std::string_view rules, bool stateless = false)
    {
        return ask("acl.set", R"({"name":")" + std::string{name} + R"(","rules":")" +
                                  std::string{rules} + R"(","stateless":)" +
                                  (stateless ? "true" : "false") + "}");
    }
    std::string attach(std::string_view names, std::string_view port, bool attaches = true)
    {
        return why(attaches ? "acl.attach" : "acl.detach", R"({"names":")" + std::string{names} +
                                                               R"(","port":")" + std::string{port} +
                                                               R"("})");
    }
    std::string trace(std::string_view port, std::string_view packet, std::string_view more = "")
    {
        return json::serialize(ask("trace", R"({"port":")" + std::string{port} + R"(","packet":")" +
                                                std::string{packet} + "\"" + std::string{more} +
                                                "}"));
    }
};

TEST_F(acls_of_the_service, sets_are_made_shown_and_removed)
{
    EXPECT_EQ(ask("acl.list"),
              json::parse(R"([{"name":"web","stateful":true,"rules_from":1,"rules_to":1,
                               "ports":[]}])"));
    EXPECT_EQ(ask("acl.show", R"({"name":"web"})"),
              json::parse(R"({"name":"web","stateful":true,"ports":[],"rules":[
                  {"rule":"to allow tcp,tp_dst=80","packets":0,"bytes":0},
                  {"rule":"from allow udp,tp_dst=53","packets":0,"bytes":0}]})"));
    EXPECT_THAT(why("acl.set", R"({"name":"web","rules":"to allow tcp\nto pass tcp","file":"x"})"),
                HasSubstr("x:2:4: "));
    EXPECT_EQ(ask("acl.show", R"({"name":"web"})").at("rules").as_array().size(), 2U)
        << "nothing was changed";
    EXPECT_EQ(ask("acl.del", R"({"name":"web"})"), json::parse(R"({"removed":true})"));
    EXPECT_THAT(why("acl.del", R"({"name":"web"})"), HasSubstr("there is no rule set web"));
    EXPECT_EQ(ask("acl.del", R"({"name":"web","if_exists":true})"),
              json::parse(R"({"removed":false})"));
    EXPECT_THAT(why("acl.show", R"({"name":"web"})"), HasSubstr("there is no rule set web"));
}

TEST_F(acls_of_the_service, what_cannot_be_attached_is_refused_whole)
{
    EXPECT_THAT(attach("web", "c"), HasSubstr("no port c"));
    EXPECT_THAT(attach("web,other", "a"), HasSubstr("no rule set other"));
    EXPECT_THAT(attach("web,web", "a"), HasSubstr("web twice"));
    EXPECT_THAT(attach("web,", "a"), HasSubstr("without a name"));
    set("bare", "to allow icmp", true);
    EXPECT_THAT(attach("web,bare", "a"),
                HasSubstr("web is stateful and bare is stateless; a port's sets must be all of "
                          "one kind"));
    EXPECT_THAT(attach("web", "a", false), HasSubstr("port a does not have"));
    EXPECT_TRUE(ask("acl.list").at(1).at("ports").as_array().empty());
    EXPECT_FALSE(switch_.ports().at("a").config->judged);

    EXPECT_THAT(attach("web", "a"), HasSubstr("done"));
    EXPECT_THAT(attach("web", "a"), HasSubstr("has the rule set web already"));
    EXPECT_THAT(attach("bare", "a"), HasSubstr("one kind"));
    EXPECT_THAT(why("acl.del", R"({"name":"web"})"), HasSubstr("attached to a; detach it first"));
    set("more", "to allow icmp");
    EXPECT_THAT(attach("more", "a"), HasSubstr("done"));
    EXPECT_THAT(why("acl.set", R"({"name":"more","rules":"to allow icmp","stateless":true})"),
                HasSubstr("one kind"));
}

TEST_F(acls_of_the_service, a_port_has_so_many_rules_and_no_more)
{
    if (test::thread_sanitizer && !test::soaking()) {
        GTEST_SKIP() << "one thread, and very many rules: ThreadSanitizer has it with --soak";
    }
    std::string many;
    for (int i = 0; i < 8192; ++i) {
        many += "to allow ip,nw_dst=10.0." + std::to_string(i / 256) + "." +
                std::to_string(i % 256) + "\\n";
    }
    for (const std::string name : {"s1", "s2", "s3", "s4", "s5"}) {
        set(name, many);
    }
    EXPECT_THAT(attach("s1,s2,s3,s4,s5", "a"), HasSubstr("32768 are the most"));
    EXPECT_THAT(attach("s1,s2,s3,s4", "a"), HasSubstr("done"));
}

TEST_F(acls_of_the_service, flows_are_as_they_were)
{
    const json::value before = ask("flow.list");
    attach("web", "a");
    EXPECT_EQ(ask("flow.list").at("total"), before.at("total"));
    EXPECT_EQ(ask("flow.list").at("flows").at(0).at("table"), json::value(0));
    EXPECT_TRUE(switch_.ports().at("a").config->judged);
    ask("flow.replace", R"({"flows":"actions=NORMAL"})");
    EXPECT_THAT(trace("a", "udp,tp_dst=54"), HasSubstr("acl_from_denied"))
        << "what flows are replaced is theirs alone";
    attach("web", "a", false);
    EXPECT_FALSE(switch_.ports().at("a").config->judged);
    EXPECT_THAT(trace("a", "udp,tp_dst=54"), Not(HasSubstr("acl_from_denied")));
}

TEST_F(acls_of_the_service, a_trace_tells_the_rule)
{
    attach("web", "a");
    attach("web", "b");
    ask("flow.replace", R"({"flows":"in_port=a,actions=output:b\nin_port=b,actions=output:a"})");
    const auto allowed = trace("a", "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_dst=53");
    EXPECT_THAT(allowed, HasSubstr(R"("stage":"acl from","rule":"acl web, rule 2: from allow )"));
    EXPECT_THAT(allowed, HasSubstr("it is to leave by b"));
    EXPECT_THAT(allowed, HasSubstr("no rule allows it"));
    EXPECT_THAT(allowed, HasSubstr(R"("port":"b","reason":"acl_to_denied")"));
    EXPECT_THAT(allowed, HasSubstr(R"("outputs":[])"));
    const auto denied = trace("b", "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_dst=22");
    EXPECT_THAT(denied, HasSubstr(R"("port":"b","reason":"acl_from_denied")"));
    EXPECT_THAT(denied, Not(HasSubstr("goto_table"))) << "nobody knows these tables";
    const auto reply = trace("b", "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=80",
                             R"(,"ct_next":"est|rpl,est|rpl")");
    EXPECT_THAT(reply, HasSubstr("a reply of a connection that was allowed"));
    EXPECT_THAT(reply, HasSubstr(R"("drops":[])"));
    EXPECT_THAT(trace("b", "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2", R"(,"ct_next":"inv")"),
                HasSubstr("acl_from_invalid"));
}

TEST_F(acls_of_the_service, a_port_that_goes_takes_its_sets_from_nobody)
{
    attach("web", "a");
    ask("port.del", R"({"name":"a"})");
    EXPECT_TRUE(ask("acl.list").at(0).at("ports").as_array().empty());
    ask("port.add", R"({"name":"a","bridge":"br0","type":"nic","device":"d0"})");
    EXPECT_FALSE(switch_.ports().at("a").config->judged);
    EXPECT_THAT(trace("a", "udp,tp_dst=54"), Not(HasSubstr("acl_from_denied")));
    attach("web", "a");
    ask("bridge.del", R"({"name":"br0","with_ports":true})");
    EXPECT_TRUE(ask("acl.list").at(0).at("ports").as_array().empty());
    EXPECT_EQ(ask("acl.del", R"({"name":"web"})"), json::parse(R"({"removed":true})"));
}

TEST_F(acls_of_the_service, connections_of_a_port_have_its_name)
{
    EXPECT_TRUE(ask("ct.list", R"({"port":"a"})").at("connections").as_array().empty());
    EXPECT_THAT(why("ct.list", R"({"port":"a","zone":1})"), HasSubstr("one of both"));
    EXPECT_THAT(why("ct.flush", R"({"port":"c"})"), HasSubstr("no port c"));
    EXPECT_EQ(ask("ct.limit", R"({"port":"a","set":10})").at("zones"),
              json::parse(R"([{"zone":null,"port":"a","limit":10,"connections":0}])"));
    ask("port.del", R"({"name":"a"})");
    ask("port.add", R"({"name":"a","bridge":"br0","type":"nic","device":"d0"})");
    EXPECT_TRUE(ask("ct.limit").at("zones").as_array().empty());
}

} // namespace
} // namespace strait::control
