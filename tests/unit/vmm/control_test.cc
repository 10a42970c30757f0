// SPDX-License-Identifier: BSD-3-Clause
// The control socket of a machine that is none.
#include "vmm/control.hh"

#include "control/client.hh"
#include "vmm/methods.hh"

#include <boost/json/array.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

namespace strait::vmm {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;

class control_of_a_machine : public testing::Test {
protected:
    control_of_a_machine()
    {
        c_.name = "vm1";
        c_.cpus = 3;
        c_.memory.bytes = std::uint64_t{64} << 20U;
        c_.disks.push_back({"/d", true, {}});
        c_.control = testing::TempDir() + "control_test_" + std::to_string(::getpid());
        service_ =
            control_service::listen(
                io_, c_,
                {.pause = [this] { asked_.emplace_back("pause"); },
                 .resume = [this] { asked_.emplace_back("resume"); },
                 .stop =
                     [this](bool force, std::chrono::seconds patience) {
                         asked_.push_back(force ? "stop now"
                                                : "stop " + std::to_string(patience.count()));
                     },
                 .info =
                     [] {
                         return json::object{{"state", "running"}, {"nets", json::array{}}};
                     },
                 .stats =
                     [] {
                         return json::object{{"exits", {{"port", 3}}}};
                     }})
                .value();
        thread_ = std::thread{[this] { io_.run(); }};
    }
    ~control_of_a_machine() override { stop(); }
    void stop()
    {
        io_.stop();
        if (thread_.joinable()) {
            thread_.join();
        }
        service_.reset();
    }

    json::value ask(std::string_view method, const json::object& parameters = {})
    {
        return client_.call(method, parameters);
    }
    std::string refused(std::string_view method, const json::object& parameters)
    {
        try {
            (void)ask(method, parameters);
        } catch (const control::call_error& e) {
            return e.message;
        }
        return "accepted";
    }

    config c_;
    std::vector<std::string> asked_;
    asio::io_context io_;
    std::unique_ptr<control_service> service_;
    std::thread thread_;
    control::client client_{
        {.path = testing::TempDir() + "control_test_" + std::to_string(::getpid()),
         .name = "the machine",
         .program = "strait-vmm",
         .advice = {}}};
};

TEST_F(control_of_a_machine, tells_what_it_is)
{
    const auto info = ask("vm.info");
    EXPECT_EQ(info.at("name"), "vm1");
    EXPECT_EQ(info.at("cpus"), 3);
    EXPECT_EQ(info.at("memory"), 64 << 20);
    EXPECT_EQ(info.at("state"), "running");
    EXPECT_EQ(info.at("uptime_s"), 0);
    EXPECT_EQ(info.at("disks").at(0).at("path"), "/d");
    EXPECT_EQ(ask("vm.stats").at("exits").at("port"), 3);
    std::set<std::string_view> described;
    for (const auto& member : control::find_method(methods(), "vm.info")->result) {
        described.insert(member.name);
    }
    for (const auto& [name, value] : info.as_object()) {
        EXPECT_TRUE(described.contains(std::string_view{name})) << name;
    }
}

TEST_F(control_of_a_machine, passes_on_what_is_asked)
{
    EXPECT_EQ(ask("vm.pause").at("state"), "paused");
    EXPECT_EQ(ask("vm.resume").at("state"), "running");
    EXPECT_EQ(ask("vm.stop").at("state"), "stopping");
    (void)ask("vm.stop", {{"force", true}});
    (void)ask("vm.stop", {{"force", false}, {"timeout", 600}});
    stop();
    EXPECT_THAT(asked_, ElementsAre("pause", "resume", "stop 30", "stop now", "stop 600"));
}

TEST_F(control_of_a_machine, refuses_what_it_does_not_have)
{
    EXPECT_EQ(refused("vm.stop", {{"froce", true}}),
              "vm.stop: there is no parameter \"froce\"; did you mean \"force\"?");
    EXPECT_THAT(refused("vm.stop", {{"force", 1}}), HasSubstr("it must be true or false"));
    EXPECT_THAT(refused("vm.puase", {}), HasSubstr("did you mean vm.pause?"));
    EXPECT_THAT(refused("port.list", {}), HasSubstr("no method of this name"));
    stop();
    EXPECT_THAT(asked_, testing::IsEmpty());
}

TEST_F(control_of_a_machine, describes_itself)
{
    const auto schema = ask("schema");
    EXPECT_EQ(schema.at("info").at("title"), "strait-vmm control service");
    EXPECT_EQ(schema.at("methods").as_array().size(), methods().size());
}

TEST_F(control_of_a_machine, leaves_no_socket)
{
    EXPECT_TRUE(std::filesystem::exists(c_.control));
    stop();
    EXPECT_FALSE(std::filesystem::exists(c_.control));
}

TEST(control_service, of_a_place_that_is_none_is_refused)
{
    asio::io_context io;
    config c;
    c.control = "/nonexistent/c.sock";
    const auto made = control_service::listen(io, c, {});
    ASSERT_TRUE(made.has_error());
    EXPECT_THAT(made.error().message, HasSubstr("/nonexistent/c.sock"));
}

} // namespace
} // namespace strait::vmm
