// SPDX-License-Identifier: BSD-3-Clause
// The metrics' port under clients that behave and clients that do not.
#include "control/log.hh"
#include "control/metrics_server.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace strait::control {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr std::string_view get = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

class connection {
public:
    explicit connection(const std::string& path)
    {
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        std::memcpy(to.sun_path, path.data(), path.size());
        open(AF_UNIX, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }
    explicit connection(std::uint16_t port)
    {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        open(AF_INET, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }
    ~connection() { ::close(fd_); }
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    const connection& send(std::string_view text) const
    {
        (void)::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
        return *this;
    }
    // All until the other side ends it; with "silent" behind it if that takes ten seconds.
    [[nodiscard]] std::string rest() const
    {
        std::string out;
        std::array<char, 65536> chunk{};
        for (;;) {
            const ssize_t n = ::recv(fd_, chunk.data(), chunk.size(), 0);
            if (n <= 0) {
                return out + (n < 0 && errno == EAGAIN ? "silent" : "");
            }
            out.append(chunk.data(), static_cast<std::size_t>(n));
        }
    }

private:
    void open(int family, const sockaddr* to, socklen_t size)
    {
        fd_ = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const timeval limit{.tv_sec = 10, .tv_usec = 0};
        (void)::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        EXPECT_EQ(::connect(fd_, to, size), 0) << std::strerror(errno);
    }

    int fd_{-1};
};

class metrics_port : public testing::Test {
protected:
    metrics_port()
    {
        set_log_level(log_level::error);
        std::string pattern = testing::TempDir() + "metrics_XXXXXX";
        folder_ = ::mkdtemp(pattern.data());
        path_ = folder_ + "/metrics.sock";
    }
    ~metrics_port() override
    {
        stop();
        std::filesystem::remove_all(folder_);
        set_log_level(log_level::info);
    }
    void start(metrics_limits limits = {})
    {
        server_ = metrics_server::listen(
                      io_, {.socket = path_},
                      [this] {
                          ++made_;
                          std::this_thread::sleep_for(takes_);
                          return page_;
                      },
                      limits)
                      .value();
        run();
    }
    void run()
    {
        thread_ = std::thread{[this] { io_.run(); }};
    }
    void stop()
    {
        io_.stop();
        if (thread_.joinable()) {
            thread_.join();
        }
        server_.reset();
    }
    [[nodiscard]] std::string ask(std::string_view request) const
    {
        return connection{path_}.send(request).rest();
    }

    std::string folder_;
    std::string path_;
    std::string page_{"a_metric 1\n"};
    std::chrono::milliseconds takes_{0};
    std::atomic<int> made_{0};
    asio::io_context io_;
    std::unique_ptr<metrics_server> server_;
    std::thread thread_;
};

std::string read(std::string_view text)
{
    const auto at = metrics_address::parse(text);
    return at.has_error() ? at.error().message : at->to_string();
}

TEST(metrics_address, is_one_that_other_hosts_do_not_reach)
{
    EXPECT_EQ(read("127.0.0.1:9476"), "127.0.0.1:9476");
    EXPECT_EQ(read("127.9.8.7:1"), "127.9.8.7:1");
    EXPECT_EQ(read("[::1]:65535"), "[::1]:65535");
    EXPECT_EQ(read("unix:/run/m.sock"), "unix:/run/m.sock");
    EXPECT_EQ(read("0.0.0.0:9476"),
              "0.0.0.0:9476 can be reached from elsewhere, and who asks is neither known nor "
              "refused; metrics are given at a loopback address and port, like 127.0.0.1:9476 or "
              "[::1]:9476, or at unix:PATH");
    for (const auto* other : {"192.0.2.1:9476", "[::]:9476", "[2001:db8::1]:9476",
                              "[::ffff:192.0.2.1]:9476", "[::ffff:0.0.0.0]:1"}) {
        EXPECT_THAT(read(other), HasSubstr("can be reached from elsewhere")) << other;
    }
    for (const auto* none : {"localhost:9476", ":9476", "::1:9476", "[127.0.0.1]:9476", "[]:9476",
                             "127.1:9476", "127.0.0.1 :9476"}) {
        EXPECT_THAT(read(none), HasSubstr("is no IP address with a port")) << none;
    }
    for (const auto* none : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536",
                             "127.0.0.1:-1", "", "[::1]"}) {
        EXPECT_THAT(read(none), HasSubstr("has no port from 1 to 65535")) << none;
    }
    EXPECT_THAT(read("unix:"), HasSubstr("has no path of 1 to 107 bytes"));
    EXPECT_THAT(read("unix:/" + std::string(107, 'a')), HasSubstr("has no path of 1 to 107"));
}

TEST_F(metrics_port, gives_its_page_and_ends_the_connection)
{
    start();
    const std::string answer = ask(get);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    EXPECT_THAT(answer, HasSubstr("Content-Length: 11\r\n"));
    EXPECT_THAT(answer, HasSubstr("Connection: close\r\n"));
    EXPECT_THAT(answer, EndsWith("\r\n\r\na_metric 1\n"));
    EXPECT_THAT(ask("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), EndsWith("\r\n\r\na_metric 1\n"));
    const std::string head = ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(head, HasSubstr("Content-Length: 11\r\n"));
    EXPECT_THAT(head, EndsWith("\r\n\r\n"));
    // A request behind another's end is not answered, and takes nothing of the first answer.
    EXPECT_THAT(ask(std::string{get} + std::string{get}), EndsWith("\r\n\r\na_metric 1\n"));
}

TEST_F(metrics_port, says_what_is_wrong_with_a_request)
{
    start();
    EXPECT_THAT(ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                AllOf(StartsWith("HTTP/1.1 404 "),
                      EndsWith("\r\n\r\nthere is nothing here: metrics are at /metrics\n")));
    EXPECT_THAT(ask("DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
                AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("Allow: GET, HEAD\r\n")));
    EXPECT_THAT(ask("POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
                StartsWith("HTTP/1.1 413 "));
    EXPECT_THAT(ask("GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
                StartsWith("HTTP/1.1 413 "));
    EXPECT_THAT(ask("GET /metrics HTTP/3.0\r\n\r\n"), StartsWith("HTTP/1.1 505 "));
    EXPECT_THAT(ask("\x16\x03\x01 no HTTP\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
    EXPECT_THAT(ask("GET /metrics HTTP/1.1\r\nA: " + std::string(8192, 'x') + "\r\n\r\n"),
                AllOf(StartsWith("HTTP/1.1 431 "), HasSubstr("more than 8192 bytes")));
    EXPECT_EQ(made_, 0);
    EXPECT_THAT(ask(get), EndsWith("a_metric 1\n"));
}

TEST_F(metrics_port, a_hundred_clients_are_served_and_the_page_is_made_for_few_of_them)
{
    takes_ = 20ms;
    start();
    std::vector<std::unique_ptr<connection>> all;
    for (int i = 0; i < 100; ++i) {
        all.push_back(std::make_unique<connection>(path_));
    }
    for (const auto& c : all) {
        c->send(get);
    }
    for (const auto& c : all) {
        EXPECT_THAT(c->rest(), EndsWith("\r\n\r\na_metric 1\n"));
    }
    EXPECT_LT(made_, 20);
    std::this_thread::sleep_for(300ms);
    const int before = made_;
    EXPECT_THAT(ask(get), EndsWith("a_metric 1\n"));
    EXPECT_EQ(made_, before + 1) << "what is given is not old";
}

TEST_F(metrics_port, who_does_not_finish_a_request_is_cut_off)
{
    start({.whole_request = 200ms});
    EXPECT_EQ(ask("GET /metrics HTTP/1.1\r\nHo"), "");
    EXPECT_EQ(ask(""), "");
    EXPECT_THAT(ask(get), EndsWith("a_metric 1\n"));
}

// Who waits is served when those who do nothing are cut off.
TEST_F(metrics_port, has_so_many_clients_at_once)
{
    start({.clients = 2, .whole_request = 700ms});
    const connection first{path_};
    const connection second{path_};
    const auto begun = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(50ms);
    EXPECT_THAT(ask(get), EndsWith("a_metric 1\n"));
    EXPECT_GE(std::chrono::steady_clock::now() - begun, 500ms);
}

TEST_F(metrics_port, who_does_not_take_the_answer_is_cut_off)
{
    page_ = std::string(std::size_t{32} << 20U, 'x');
    start({.clients = 1, .whole_answer = 300ms});
    const connection slow{path_};
    slow.send(get);
    EXPECT_THAT(ask("GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
    EXPECT_LT(slow.rest().size(), page_.size());
}

TEST_F(metrics_port, a_socket_is_its_owners_and_not_stolen)
{
    start();
    struct stat status {};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0660U);
    const auto second = metrics_server::listen(io_, {.socket = path_}, [] { return ""; });
    ASSERT_TRUE(second.has_error());
    EXPECT_THAT(second.error().message, HasSubstr(path_));
    EXPECT_THAT(ask(get), EndsWith("a_metric 1\n"));
    stop();
    EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(metrics_port, may_be_a_loopback_address)
{
    const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    ASSERT_EQ(::bind(probe, reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
    ASSERT_EQ(::getsockname(probe, reinterpret_cast<sockaddr*>(&at), &size), 0);
    const std::uint16_t port = ntohs(at.sin_port);
    const metrics_address where{.host = "127.0.0.1", .port = port};
    const auto make = [this] { return page_; };
    ASSERT_EQ(::listen(probe, 1), 0);
    const auto taken = metrics_server::listen(io_, where, make);
    ASSERT_TRUE(taken.has_error());
    EXPECT_EQ(taken.error().message, "metrics cannot be given at 127.0.0.1:" +
                                         std::to_string(port) + ": Address already in use");
    ::close(probe);
    server_ = metrics_server::listen(io_, where, make).value();
    run();
    EXPECT_THAT(connection{port}.send(get).rest(), EndsWith("\r\n\r\na_metric 1\n"));
    // TCP takes an answer back from who has not read it when its connection is closed with
    // something unread.
    const connection rude{port};
    rude.send(std::string{get} + std::string(40'000, 'x'));
    std::this_thread::sleep_for(100ms);
    EXPECT_THAT(rude.rest(), EndsWith("\r\n\r\na_metric 1\n"));
}

} // namespace
} // namespace strait::control
