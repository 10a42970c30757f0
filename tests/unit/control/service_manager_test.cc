// SPDX-License-Identifier: BSD-3-Clause
#include "control/service_manager.hh"

#include "eal_environment.hh"
#include "ports/unix_socket.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <thread>

#include <sys/socket.h>
#include <unistd.h>

namespace strait::control {
namespace {

using namespace testing_support;
using variables = std::map<std::string, std::string>;

ports::result<service_manager> made_of(const variables& v, pid_t self = 7)
{
    return service_manager::from_environment(
        [&v](const char* name) {
            const auto found = v.find(name);
            return found == v.end() ? nullptr : found->second.c_str();
        },
        self);
}

// The manager's end.
class manager_socket {
public:
    explicit manager_socket(const std::string& address)
        : fd_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)}
    {
        sockaddr_un a = ports::socket_address(address);
        if (a.sun_path[0] == '@') {
            a.sun_path[0] = 0;
        }
        EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&a),
                         static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size())),
                  0);
    }
    ~manager_socket() { ::close(fd_); }
    manager_socket(const manager_socket&) = delete;
    manager_socket& operator=(const manager_socket&) = delete;

    [[nodiscard]] std::vector<std::string> heard() const
    {
        std::vector<std::string> out;
        std::array<char, 4096> text{};
        for (ssize_t n = 0; (n = ::recv(fd_, text.data(), text.size(), 0)) > 0;) {
            out.emplace_back(text.data(), static_cast<std::size_t>(n));
        }
        return out;
    }

private:
    int fd_;
};

std::string a_name()
{
    return "@strait-test-" + std::to_string(::getpid());
}

TEST(service_manager, is_as_the_environment_says)
{
    EXPECT_FALSE(made_of({})->listens());
    EXPECT_FALSE(made_of({{"WATCHDOG_USEC", "1000"}})->watchdog());
    const variables all{{"NOTIFY_SOCKET", "/run/systemd/notify"},
                        {"WATCHDOG_USEC", "20000000"},
                        {"WATCHDOG_PID", "7"}};
    EXPECT_TRUE(made_of(all)->listens());
    EXPECT_EQ(made_of(all)->watchdog(), std::chrono::seconds{20});
    // Of the process that started us, which is to do it itself.
    EXPECT_FALSE(made_of(all, 8)->watchdog());

    for (const char* const wrong : {"", "notify", "@", "vsock:2:1234"}) {
        EXPECT_TRUE(made_of({{"NOTIFY_SOCKET", wrong}}).has_error()) << wrong;
    }
    EXPECT_TRUE(made_of({{"NOTIFY_SOCKET", "/" + std::string(200, 'x')}}).has_error());
    for (const char* const wrong : {"", "0", "-1", "1s", "99999999999"}) {
        variables v = all;
        v["WATCHDOG_USEC"] = wrong;
        EXPECT_EQ(made_of(v).error().message, "$WATCHDOG_USEC is " + std::string{wrong} +
                                                  ", and it is microseconds, from 1 to 4294967295");
    }
}

TEST(service_manager, is_told_by_path_and_by_name_and_is_not_waited_for)
{
    const std::string path = testing::TempDir() + "notify-" + std::to_string(::getpid());
    for (const std::string& address : {path, a_name()}) {
        const manager_socket there{address};
        const auto manager = made_of({{"NOTIFY_SOCKET", address}});
        manager->tell("READY=1");
        EXPECT_EQ(there.heard(), std::vector<std::string>{"READY=1"});
        for (int i = 0; i < 10'000; ++i) {
            manager->tell("STATUS=x");
        }
        EXPECT_GE(there.heard().size(), 1U);
    }
    ::unlink(path.c_str());
    made_of({{"NOTIFY_SOCKET", path}})->tell("READY=1"); // nobody is there
}

class watched_daemon : public testing::Test {
protected:
    watched_daemon() : switch_{shared_engine(), fake_types(fakes_, shared_engine())} {}
    ~watched_daemon() override { fakes_.holds["a"] = false; }

    void run(std::chrono::milliseconds time)
    {
        io_.restart();
        io_.run_for(time);
    }

    fake_control fakes_;
    virtual_switch switch_;
    boost::asio::io_context io_;
    manager_socket there_{a_name()};
    service_manager manager_{
        made_of({{"NOTIFY_SOCKET", a_name()}, {"WATCHDOG_USEC", "400000"}}).value()};
    std::string status_{"idle"};
};

TEST_F(watched_daemon, says_that_it_is_ready_what_it_does_and_that_it_ends)
{
    {
        const manager_watch watch{io_, manager_, shared_engine(), [this] { return status_; }};
        const auto first = there_.heard();
        ASSERT_EQ(first.size(), 2U);
        EXPECT_EQ(first[0], "READY=1\nSTATUS=idle");
        EXPECT_EQ(first[1], "WATCHDOG=1");
        // Workers with no port sleep, and are alive.
        status_ = "busy";
        run(std::chrono::milliseconds{1150});
        const auto then = there_.heard();
        EXPECT_EQ(std::ranges::count(then, "STATUS=busy"), 1);
        EXPECT_GE(std::ranges::count(then, "WATCHDOG=1"), 4);
    }
    EXPECT_EQ(there_.heard(), std::vector<std::string>{"STOPPING=1"});
}

TEST_F(watched_daemon, is_not_told_to_be_alive_while_a_worker_stands_still)
{
    ASSERT_TRUE(switch_.add_bridge({.name = "br0"}).has_value());
    ASSERT_TRUE(
        switch_.add_port({.name = "a", .bridge = "br0", .type = "nic", .options = {}, .vlan = {}})
            .has_value());
    const manager_watch watch{io_, manager_, shared_engine(), [this] { return status_; }};
    fakes_.holds["a"] = true;
    run(std::chrono::milliseconds{250}); // the look that sees what it did before
    (void)there_.heard();
    run(std::chrono::milliseconds{500});
    EXPECT_EQ(std::ranges::count(there_.heard(), "WATCHDOG=1"), 0);
    fakes_.holds["a"] = false;
    run(std::chrono::milliseconds{500});
    EXPECT_GE(std::ranges::count(there_.heard(), "WATCHDOG=1"), 1);
}

} // namespace
} // namespace strait::control
