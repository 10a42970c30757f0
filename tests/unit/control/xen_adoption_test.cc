// SPDX-License-Identifier: BSD-3-Clause
// What bridge= says, and that ports come and go with the vifs of a simulated hypervisor's store.
#include "control/xen_adoption.hh"

#include "control/service.hh"
#include "eal_environment.hh"
#include "ports/xen-netback/simulated/server.hh"
#include "ports/xen-netback/simulated/simulated_hypervisor.hh"
#include "ports/xen-netback/simulated/tool_stack.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include <boost/json/parse.hpp>

#include <unistd.h>

namespace strait::control {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing_support::fake_control;
using testing_support::shared_engine;
using xen::domain_id;

TEST(bridge_key_of_a_vif, is_read_as_xens_own_script_does)
{
    const auto plain = parse_bridge_key("br0").value();
    EXPECT_EQ(plain.bridge, "br0");
    EXPECT_FALSE(plain.vlan.access || plain.vlan.trunk || plain.vlan.native);

    const auto access = parse_bridge_key("br0.20").value();
    EXPECT_EQ(access.bridge, "br0");
    EXPECT_EQ(access.vlan.access, 20);
    EXPECT_FALSE(access.vlan.trunk);

    const auto trunk = parse_bridge_key("br0:20:10:20").value();
    EXPECT_EQ(trunk.bridge, "br0");
    EXPECT_FALSE(trunk.vlan.access || trunk.vlan.native);
    EXPECT_THAT(trunk.vlan.trunk.value(), ElementsAre(10, 20));

    const auto native = parse_bridge_key("br0.5:10:20").value();
    EXPECT_EQ(native.bridge, "br0");
    EXPECT_FALSE(native.vlan.access);
    EXPECT_EQ(native.vlan.native, 5);
    EXPECT_THAT(native.vlan.trunk.value(), ElementsAre(5, 10, 20));
}

TEST(bridge_key_of_a_vif, that_is_wrong_names_the_part)
{
    for (const auto& [key, part] : {std::pair{"br0.4095", "\"4095\""},
                                    {"br0.0", "\"0\""},
                                    {"br0.x", "\"x\""},
                                    {"br0.", "\"\""},
                                    {"br0:", "\"\""},
                                    {"br0:10:", "\"\""},
                                    {"br0:10:70000", "\"70000\""},
                                    {"br0.1:2x", "\"2x\""}}) {
        const auto wrong = parse_bridge_key(key);
        ASSERT_TRUE(wrong.has_error()) << key;
        EXPECT_THAT(wrong.error().message, HasSubstr(part)) << key;
        EXPECT_THAT(wrong.error().message, HasSubstr("1 to 4094")) << key;
    }
}

class adoption : public testing::Test {
protected:
    adoption()
        : folder_{std::filesystem::path{testing::TempDir()} /
                  ("adoption-" + std::to_string(::getpid()))},
          server_{(std::filesystem::create_directories(folder_),
                   xen::simulated::server_thread::start({.socket = folder_ / "xen"}).value())},
          tools_{xen::simulated::tool_stack::connect(folder_ / "xen").value()},
          backend_{xen::backend::open(
                       xen::simulated::simulated_hypervisor::connect(folder_ / "xen", domain_id{0})
                           .value())
                       .value()},
          switch_{shared_engine(), testing_support::fake_types(fakes_, shared_engine())},
          adoption_{io_, switch_, backend_.get()},
          captures_{io_, switch_},
          mirrors_{io_, switch_},
          service_{switch_,
                   adoption_,
                   captures_,
                   mirrors_,
                   {.worker_cpus = {0}, .hypervisor = "simulated"}}
    {
        for (const auto* name : {"br0", "br1", "br.7"}) {
            EXPECT_TRUE(switch_.add_bridge({.name = name}).has_value());
        }
    }
    ~adoption() override { std::filesystem::remove_all(folder_); }

    void make_vif(std::uint16_t domain, unsigned handle, const std::string& bridge)
    {
        if (handle == 0) {
            ASSERT_TRUE(tools_->create_domain(domain_id{domain}, "guest").has_value());
        }
        ASSERT_TRUE(
            tools_->add_vif(domain_id{domain}, handle, "00:16:3e:00:00:01", {.bridge = bridge})
                .has_value());
    }
    // Runs what waits for the control thread until the condition holds.
    template <typename Condition>
    bool soon(Condition condition)
    {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end) {
                return false;
            }
            io_.restart();
            io_.run_for(std::chrono::milliseconds{5});
        }
        return true;
    }
    [[nodiscard]] std::vector<std::string> ports() const
    {
        std::vector<std::string> names;
        for (const auto& [name, p] : switch_.ports()) {
            names.push_back(name + "@" + p.request.bridge);
        }
        return names;
    }
    bool ports_become(const std::vector<std::string>& expected)
    {
        return soon([&] { return ports() == expected; });
    }
    boost::json::value ask(const std::string& method, const std::string& parameters)
    {
        const auto answer = service_.rpc().answer(R"({"jsonrpc":"2.0","id":1,"method":")" + method +
                                                  R"(","params":)" + parameters + "}");
        return boost::json::parse(answer);
    }

    std::filesystem::path folder_;
    std::unique_ptr<xen::simulated::server_thread> server_;
    std::unique_ptr<xen::simulated::tool_stack> tools_;
    std::unique_ptr<xen::backend> backend_;
    fake_control fakes_;
    virtual_switch switch_;
    boost::asio::io_context io_;
    xen_adoption adoption_;
    capture_list captures_;
    mirror_list mirrors_;
    service service_;
};

TEST_F(adoption, makes_ports_of_what_is_there_and_of_what_comes)
{
    make_vif(1, 0, "br0");
    make_vif(2, 0, "br1");
    ASSERT_TRUE(soon([&] { return adoption_.vifs().size() == 2; }));
    EXPECT_THAT(ports(), IsEmpty()) << "nobody asked for them";
    ASSERT_TRUE(adoption_.adopt("br0", {}).has_value());
    EXPECT_THAT(ports(), ElementsAre("vif1.0@br0"));
    make_vif(1, 1, "br0.20");
    make_vif(3, 0, "br0.5:10");
    ASSERT_TRUE(ports_become({"vif1.0@br0", "vif1.1@br0", "vif3.0@br0"}));
    EXPECT_EQ(switch_.ports().at("vif1.1").request.vlan.access, 20);
    EXPECT_EQ(switch_.ports().at("vif3.0").request.vlan.native, 5);
}

TEST_F(adoption, removes_a_port_with_its_vif)
{
    ASSERT_TRUE(adoption_.adopt("br0", {}).has_value());
    make_vif(1, 0, "br0");
    ASSERT_TRUE(ports_become({"vif1.0@br0"}));
    ASSERT_TRUE(tools_->forget_vif(domain_id{1}, 0).has_value());
    ASSERT_TRUE(ports_become({}));
    make_vif(1, 1, "br0");
    ASSERT_TRUE(ports_become({"vif1.1@br0"}));
}

TEST_F(adoption, takes_a_bridges_whole_name_before_it_looks_for_vlans)
{
    ASSERT_TRUE(adoption_.adopt("br.7", {}).has_value());
    make_vif(1, 0, "br.7");
    ASSERT_TRUE(ports_become({"vif1.0@br.7"}));
    EXPECT_FALSE(switch_.ports().at("vif1.0").request.vlan.access);
}

TEST_F(adoption, tells_of_a_key_that_is_wrong_and_goes_on_when_it_is_right)
{
    ASSERT_TRUE(adoption_.adopt("br0", {}).has_value());
    make_vif(1, 0, "br0.9999");
    ASSERT_TRUE(soon([&] { return !adoption_.vifs().empty(); }));
    EXPECT_THAT(adoption_.vifs().front().error, HasSubstr("\"9999\" is no VLAN"));
    EXPECT_THAT(ports(), IsEmpty());
    ASSERT_TRUE(
        tools_->store()
            .write(xen::simulated::tool_stack::backend_path(domain_id{1}, 0) + "/bridge", "br0.99")
            .has_value());
    ASSERT_TRUE(ports_become({"vif1.0@br0"}));
    EXPECT_EQ(switch_.ports().at("vif1.0").request.vlan.access, 99);
    EXPECT_THAT(adoption_.vifs().front().error, IsEmpty());
}

TEST_F(adoption, of_others_takes_what_names_no_adopting_bridge)
{
    make_vif(1, 0, "xenbr0");
    make_vif(2, 0, "br1");
    ASSERT_TRUE(adoption_.adopt("br0", {.others = true}).has_value());
    ASSERT_TRUE(ports_become({"vif1.0@br0", "vif2.0@br0"}));
    ASSERT_TRUE(adoption_.adopt("br1", {}).has_value());
    EXPECT_THAT(ports(), ElementsAre("vif1.0@br0", "vif2.0@br1"));
    const auto refused = adoption_.adopt("br1", {.others = true});
    ASSERT_TRUE(refused.has_error());
    EXPECT_THAT(refused.error().message, HasSubstr("bridge br0 adopts the vifs of other bridges"));
}

TEST_F(adoption, leaves_an_operators_own_port_alone)
{
    port_request own;
    own.name = "mine";
    own.bridge = "br1";
    own.type = "xen";
    own.options = {{"domain", 1}, {"handle", 0}};
    ASSERT_TRUE(switch_.add_port(own).has_value());
    ASSERT_TRUE(adoption_.adopt("br0", {}).has_value());
    make_vif(1, 0, "br0");
    ASSERT_TRUE(soon([&] { return !adoption_.vifs().empty(); }));
    EXPECT_EQ(adoption_.vifs().front().port, "mine");
    EXPECT_TRUE(adoption_.release("br0").value());
    EXPECT_THAT(ports(), ElementsAre("mine@br1"));
}

TEST_F(adoption, ends_with_its_ports_and_says_whether_there_was_one)
{
    ASSERT_TRUE(adoption_.adopt("br0", {}).has_value());
    make_vif(1, 0, "br0");
    ASSERT_TRUE(ports_become({"vif1.0@br0"}));
    EXPECT_TRUE(adoption_.release("br0").value());
    EXPECT_THAT(ports(), IsEmpty());
    EXPECT_FALSE(adoption_.release("br0").value());
}

TEST_F(adoption, tells_which_port_serves_a_vif_or_why_none)
{
    ASSERT_TRUE(adoption_.adopt("br0", {}).has_value());
    make_vif(3, 0, "br0");
    make_vif(3, 1, "br9.20");
    make_vif(3, 2, "br0.x");
    ASSERT_TRUE(soon([&] { return adoption_.vifs().size() == 3; }));
    const auto answer = [&](const std::string& handle) {
        return ask("xen.check", R"({"domain":3,"handle":)" + handle + "}").as_object();
    };
    EXPECT_EQ(answer("0").at("result").at("port"), "vif3.0");
    const auto why = [&](const std::string& handle) {
        return std::string{answer(handle).at("error").at("message").as_string()};
    };
    EXPECT_EQ(why("1"), "no bridge adopts vif3.1 with its bridge=br9.20: straitctl xen adopt "
                        "--bridge br9");
    EXPECT_THAT(why("2"), HasSubstr("\"x\" is no VLAN"));
    EXPECT_THAT(why("7"), HasSubstr("there is no vif3.7"));
}

TEST_F(adoption, lets_the_tool_stack_ask_why_a_vif_with_our_script_has_no_port)
{
    ASSERT_TRUE(adoption_.adopt("br0", {}).has_value());
    ASSERT_TRUE(tools_->create_domain(domain_id{3}, "guest").has_value());
    const auto add = [&](unsigned handle, const std::string& script, const std::string& bridge) {
        ASSERT_TRUE(tools_
                        ->add_vif(domain_id{3}, handle, "00:16:3e:00:00:01",
                                  {.script = "/etc/xen/scripts/" + script, .bridge = bridge})
                        .has_value());
    };
    const auto state = [&](unsigned handle) {
        return tools_->store()
            .read(xen::simulated::tool_stack::backend_path(domain_id{3}, handle) + "/state")
            .value()
            .value_or("");
    };
    add(0, "vif-bridge", "br9");
    add(1, xen::own_script, "br9");
    add(2, xen::own_script, "br0.x");
    EXPECT_TRUE(soon([&] { return state(1) == "2" && state(2) == "2"; }));
    EXPECT_EQ(state(0), "1") << "somebody else's";

    // And what it then removes is closed at once.
    for (const unsigned handle : {0U, 1U}) {
        ASSERT_TRUE(tools_->detach_vif(domain_id{3}, handle).has_value());
    }
    EXPECT_TRUE(soon([&] { return state(1) == "6"; }));
    EXPECT_EQ(state(0), "5");
}

TEST_F(adoption, gives_a_port_the_mtu_of_the_configuration)
{
    ASSERT_TRUE(adoption_.adopt("br0", {}).has_value());
    ASSERT_TRUE(tools_->create_domain(domain_id{3}, "guest").has_value());
    ASSERT_TRUE(
        tools_->add_vif(domain_id{3}, 0, "00:16:3e:00:00:01", {.bridge = "br0", .mtu = 9000})
            .has_value());
    ASSERT_TRUE(ports_become({"vif3.0@br0"}));
    EXPECT_EQ(switch_.ports().at("vif3.0").request.mtu, 9000);
}

TEST_F(adoption, of_a_bridge_that_is_not_there_is_refused)
{
    const auto refused = adoption_.adopt("br9", {});
    ASSERT_TRUE(refused.has_error());
    EXPECT_THAT(refused.error().message, HasSubstr("there is no bridge br9"));
}

TEST_F(adoption, keeps_its_bridge_unless_ports_go_with_it)
{
    make_vif(1, 0, "br0");
    const auto adopted = ask("xen.adopt", R"({"bridge":"br0"})");
    EXPECT_TRUE(adopted.at("result").at("adopted").as_bool());
    ASSERT_TRUE(ports_become({"vif1.0@br0"}));
    const auto refused = ask("bridge.del", R"({"name":"br0"})");
    EXPECT_THAT(std::string{std::string_view{refused.at("error").at("message").as_string()}},
                HasSubstr("bridge br0 adopts Xen guests"));
    EXPECT_TRUE(ask("bridge.del", R"({"name":"br0","with_ports":true})")
                    .at("result")
                    .at("removed")
                    .as_bool());
    EXPECT_THAT(adoption_.rules(), IsEmpty());
    const auto list = ask("xen.list", "{}").at("result");
    EXPECT_EQ(list.at("hypervisor").as_string(), "simulated");
    ASSERT_EQ(list.at("vifs").as_array().size(), 1U);
    EXPECT_TRUE(list.at("vifs").at(0).at("port").is_null());
    EXPECT_TRUE(list.at("vifs").at(0).at("error").is_null());
}

} // namespace
} // namespace strait::control
