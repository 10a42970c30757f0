// SPDX-License-Identifier: BSD-3-Clause
// The control socket under clients that behave and clients that do not.
#include "control/log.hh"
#include "control/methods.hh"
#include "control/server.hh"
#include "tests/unit/sanitizers.hh"

#include <boost/asio/post.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace strait::control {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace std::chrono_literals;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr std::size_t big_answer = std::size_t{4} << 20U;

// A connection that sends what it is told and reads lines or does not.
class raw_client {
public:
    explicit raw_client(const std::string& path)
    {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.data(), path.size());
        fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const timeval limit{.tv_sec = 10, .tv_usec = 0};
        (void)::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    ~raw_client() { ::close(fd_); }
    raw_client(const raw_client&) = delete;
    raw_client& operator=(const raw_client&) = delete;

    // False when the other side is gone.
    bool send(std::string_view text) const
    {
        while (!text.empty()) {
            const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
            if (n <= 0) {
                return false;
            }
            text.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }
    void end_of_sending() const { ::shutdown(fd_, SHUT_WR); }
    // Without the newline; "closed" at the end, "silent" after ten seconds.
    std::string line()
    {
        for (;;) {
            const auto end = buffer_.find('\n');
            if (end != std::string::npos) {
                std::string out = buffer_.substr(0, end);
                buffer_.erase(0, end + 1);
                return out;
            }
            std::array<char, 65536> chunk{};
            const ssize_t n = ::recv(fd_, chunk.data(), chunk.size(), 0);
            if (n < 0 && errno == EAGAIN) {
                return "silent";
            }
            if (n <= 0) {
                return "closed";
            }
            buffer_.append(chunk.data(), static_cast<std::size_t>(n));
        }
    }

    // What came of a line that did not.
    const std::string& rest() const { return buffer_; }

private:
    int fd_;
    std::string buffer_;
};

constexpr std::string_view ping = R"({"jsonrpc":"2.0","id":1,"method":"version"})"
                                  "\n";
constexpr std::string_view large = R"({"jsonrpc":"2.0","id":2,"method":"schema"})"
                                   "\n";

class control_socket : public testing::Test {
protected:
    control_socket()
    {
        set_log_level(log_level::error);
        std::string pattern = testing::TempDir() + "server_XXXXXX";
        folder_ = ::mkdtemp(pattern.data());
        path_ = folder_ + "/control.sock";
        rpc_.add("version",
                 [](const json::object&) -> outcome<json::value> { return json::value("ok"); });
        rpc_.add("schema", [](const json::object&) -> outcome<json::value> {
            return json::value(std::string(big_answer, 'x'));
        });
    }
    ~control_socket() override
    {
        stop();
        std::filesystem::remove_all(folder_);
        set_log_level(log_level::info);
    }
    void start(server_limits limits = {})
    {
        server_ = server::listen(io_, path_, rpc_, limits).value();
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
    void expect_service()
    {
        raw_client c{path_};
        EXPECT_TRUE(c.send(ping));
        EXPECT_THAT(c.line(), HasSubstr("\"ok\""));
    }

    std::string folder_;
    std::string path_;
    rpc rpc_{methods()};
    asio::io_context io_;
    std::unique_ptr<server> server_;
    std::thread thread_;
};

// As when front ends hold all of them: somebody must still be able to remove a port.
TEST_F(control_socket, a_client_is_served_when_descriptors_have_run_out)
{
    if (test::undefined_sanitizer) {
        GTEST_SKIP() << "UBSan opens a pipe to look at an object's type";
    }
    start();
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    constexpr rlim_t few = 256;
    const rlimit limit{.rlim_cur = few, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    std::vector<int> all;
    for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) {
        all.push_back(fd);
    }
    ASSERT_FALSE(all.empty());
    ::close(all.back()); // for this side of the connection
    all.pop_back();
    expect_service();
    for (const int fd : all) {
        ::close(fd);
    }
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    expect_service();
}

TEST_F(control_socket, answers_lines_however_they_are_cut)
{
    start();
    raw_client c{path_};
    for (const char byte : ping) {
        ASSERT_TRUE(c.send({&byte, 1}));
    }
    EXPECT_THAT(c.line(), HasSubstr("\"ok\""));
    ASSERT_TRUE(c.send("\n \r\n" + std::string{ping} + std::string{ping}));
    EXPECT_THAT(c.line(), HasSubstr("\"ok\""));
    EXPECT_THAT(c.line(), HasSubstr("\"ok\""));
}

// What is kept when somebody says so, in the thread that serves.
class slow_keeper : public change_keeper {
public:
    outcome<std::optional<json::value>> before(const method& /*m*/,
                                               const json::object& parameters) override
    {
        if (parameters.at("name") == "full") {
            return failure{failure_kind::failed, "there is no room"};
        }
        return std::optional<json::value>{};
    }
    void after(const method& m) noexcept override { changed = m.name; }
    void when_kept(kept_or_not then) override { waiting.push_back(std::move(then)); }

    std::string_view changed;
    std::vector<kept_or_not> waiting;
};

class kept_changes : public control_socket {
protected:
    kept_changes()
    {
        rpc_.set_keeper(&keeper_);
        rpc_.add("bridge.add",
                 [](const json::object&) -> outcome<json::value> { return json::value("made"); });
    }
    static std::string add(std::string_view name)
    {
        return R"({"jsonrpc":"2.0","id":7,"method":"bridge.add","params":{"name":")" +
               std::string{name} + "\"}}\n";
    }
    // Nothing: it is kept.
    void tell(const std::optional<std::string>& why)
    {
        std::promise<void> done;
        asio::post(io_, [&] {
            for (const auto& then : std::exchange(keeper_.waiting, {})) {
                then(why);
            }
            done.set_value();
        });
        done.get_future().wait();
    }

    slow_keeper keeper_;
};

TEST_F(kept_changes, are_answered_when_they_are_kept_and_nobody_else_waits)
{
    start();
    raw_client changes{path_};
    ASSERT_TRUE(changes.send(add("a") + std::string{ping}));
    expect_service(); // to another
    EXPECT_EQ(changes.rest(), "");
    tell(std::nullopt);
    EXPECT_THAT(changes.line(), HasSubstr("\"made\""));
    EXPECT_THAT(changes.line(), HasSubstr("\"ok\"")) << "what came behind it is answered then";
    EXPECT_EQ(keeper_.changed, "bridge.add");
}

TEST_F(kept_changes, that_are_not_kept_are_answered_so)
{
    start();
    raw_client changes{path_};
    std::string both = add("a");
    both.pop_back();
    ASSERT_TRUE(changes.send("[" + both + "," + std::string{ping.substr(0, ping.size() - 1)} +
                             "]\n" + add("b")));
    expect_service();
    tell("the disk is broken");
    const auto answers = json::parse(changes.line());
    EXPECT_THAT(json::serialize(answers.at(0)),
                HasSubstr("this was done, but is not kept, and is lost when straitd ends: the disk "
                          "is broken"));
    EXPECT_EQ(answers.at(0).at("id"), 7);
    expect_service();
    tell(std::nullopt);
    EXPECT_THAT(changes.line(), HasSubstr("\"made\""));
}

TEST_F(kept_changes, that_cannot_be_kept_are_not_made)
{
    start();
    raw_client changes{path_};
    ASSERT_TRUE(changes.send(add("full")));
    EXPECT_THAT(changes.line(), HasSubstr("there is no room"));
    EXPECT_EQ(keeper_.changed, "");
}

TEST_F(kept_changes, of_a_client_that_is_gone_harm_nobody)
{
    start();
    {
        raw_client changes{path_};
        ASSERT_TRUE(changes.send(add("a")));
        expect_service();
    }
    expect_service();
    tell(std::nullopt);
    expect_service();
}

TEST_F(control_socket, goes_on_after_a_request_that_is_no_json)
{
    start();
    raw_client c{path_};
    ASSERT_TRUE(c.send("{\"jsonrpc\":\n" + std::string{ping}));
    EXPECT_THAT(c.line(), HasSubstr("-32700"));
    EXPECT_THAT(c.line(), HasSubstr("\"ok\""));
}

TEST_F(control_socket, answers_many_requests_of_one_client_in_order)
{
    start();
    raw_client c{path_};
    std::string all;
    for (int i = 0; i < 500; ++i) {
        all += R"({"jsonrpc":"2.0","id":)" + std::to_string(i) + R"(,"method":"version"})" + "\n";
    }
    std::thread sender{[&] { EXPECT_TRUE(c.send(all)); }};
    for (int i = 0; i < 500; ++i) {
        EXPECT_EQ(json::parse(c.line()).at("id"), i);
    }
    sender.join();
}

TEST_F(control_socket, answers_the_half_request_of_a_client_that_ended)
{
    start();
    raw_client c{path_};
    ASSERT_TRUE(c.send(ping.substr(0, 20)));
    c.end_of_sending();
    EXPECT_THAT(c.line(), HasSubstr("-32700"));
    EXPECT_EQ(c.line(), "closed");
    expect_service();
}

TEST_F(control_socket, ends_the_half_request_of_a_client_that_waits)
{
    start({.clients = 64, .whole_line = 100ms, .progress = 10s});
    raw_client c{path_};
    ASSERT_TRUE(c.send(ping.substr(0, 20)));
    expect_service();
    EXPECT_THAT(c.line(), HasSubstr("did not come in time"));
    EXPECT_EQ(c.line(), "closed");
    expect_service();
}

TEST_F(control_socket, leaves_an_idle_client_alone)
{
    start({.clients = 64, .whole_line = 50ms, .progress = 50ms});
    raw_client c{path_};
    ASSERT_TRUE(c.send(ping));
    EXPECT_THAT(c.line(), HasSubstr("\"ok\""));
    std::this_thread::sleep_for(300ms);
    ASSERT_TRUE(c.send(ping));
    EXPECT_THAT(c.line(), HasSubstr("\"ok\""));
}

TEST_F(control_socket, refuses_a_request_without_end)
{
    start();
    raw_client c{path_};
    const std::string chunk(65536, 'x');
    std::size_t sent = 0;
    while (sent < 16 * rpc::longest_request && c.send(chunk)) {
        sent += chunk.size();
    }
    EXPECT_LT(sent, 4 * rpc::longest_request);
    EXPECT_THAT(c.line(), HasSubstr("-32600"));
    expect_service();
}

TEST_F(control_socket, drops_a_client_that_never_reads)
{
    start({.clients = 64, .whole_line = 10s, .progress = 200ms});
    raw_client c{path_};
    ASSERT_TRUE(c.send(large));
    expect_service();
    // Others were served meanwhile; after a while the connection is gone and what it was owed too.
    std::this_thread::sleep_for(600ms);
    expect_service();
    std::size_t received = 0;
    std::string line = c.line();
    received = line.size();
    EXPECT_EQ(line, "closed");
    EXPECT_LT(received, big_answer);
}

TEST_F(control_socket, answers_a_client_that_reads_slowly)
{
    start({.clients = 64, .whole_line = 10s, .progress = 2s});
    raw_client c{path_};
    ASSERT_TRUE(c.send(large));
    std::this_thread::sleep_for(300ms);
    EXPECT_GT(c.line().size(), big_answer);
}

TEST_F(control_socket, makes_room_for_a_new_client_by_dropping_the_most_silent)
{
    start({.clients = 3, .whole_line = 10s, .progress = 10s});
    raw_client first{path_};
    raw_client second{path_};
    raw_client third{path_};
    for (auto* c : {&first, &second, &third, &first}) {
        ASSERT_TRUE(c->send(ping));
        ASSERT_THAT(c->line(), HasSubstr("\"ok\""));
    }
    expect_service(); // a fourth
    const auto why = json::parse(second.line());
    EXPECT_EQ(why.at("id"), nullptr);
    EXPECT_EQ(why.at("error").at("data").at("kind"), "limit");
    EXPECT_THAT(std::string{why.at("error").at("message").as_string()},
                HasSubstr("at most 3 clients"));
    EXPECT_EQ(second.line(), "closed") << "it was silent for longest";
    ASSERT_TRUE(first.send(ping));
    EXPECT_THAT(first.line(), HasSubstr("\"ok\""));
}

TEST_F(control_socket, writes_no_reason_into_an_answer)
{
    start({.clients = 1, .whole_line = 10s, .progress = 10s});
    raw_client deaf{path_};
    ASSERT_TRUE(deaf.send(large));
    std::this_thread::sleep_for(100ms);
    expect_service();
    EXPECT_EQ(deaf.line(), "closed") << "within the line";
    EXPECT_THAT(deaf.rest(), Not(HasSubstr("clients")));
}

TEST_F(control_socket, tells_of_many_it_drops_at_most_once_a_second)
{
    set_log_level(log_level::warning);
    testing::internal::CaptureStderr();
    start({.clients = 1, .whole_line = 10s, .progress = 10s});
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::unique_ptr<raw_client>> all; // none goes by itself
    for (int i = 0; i < 100; ++i) {
        all.push_back(std::make_unique<raw_client>(path_));
        ASSERT_TRUE(all.back()->send(ping));
        EXPECT_THAT(all.back()->line(), HasSubstr("\"ok\""));
    }
    std::this_thread::sleep_for(1200ms);
    stop();
    const auto seconds = (std::chrono::steady_clock::now() - begin) / 1s;
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_THAT(log, HasSubstr("more than 1 clients: 1 was dropped, the longest silent first"));
    EXPECT_THAT(log, ContainsRegex("more than 1 clients: [0-9]+ were dropped"));
    EXPECT_LE(std::count(log.begin(), log.end(), '\n'), seconds + 1);
}

TEST_F(control_socket, gives_a_connection_away_when_its_answer_was_written)
{
    rpc_.add_stream("version", [](const json::object&, rpc::takeover& then) {
        then = [](int descriptor) {
            const std::string_view text = "stream";
            EXPECT_EQ(::write(descriptor, text.data(), text.size()), 6);
            ::close(descriptor);
        };
        return outcome<json::value>{json::value("follows")};
    });
    start();
    raw_client c{path_};
    EXPECT_TRUE(c.send(ping));
    EXPECT_THAT(c.line(), HasSubstr("follows"));
    EXPECT_EQ(c.line(), "closed");
    EXPECT_EQ(c.rest(), "stream");
    raw_client of_a_batch{path_};
    EXPECT_TRUE(of_a_batch.send(R"([{"jsonrpc":"2.0","id":1,"method":"version"}])"
                                "\n"));
    EXPECT_THAT(of_a_batch.line(), HasSubstr("must be a request by itself"));
    stop();
    EXPECT_EQ(io_.stopped(), true);
}

TEST_F(control_socket, survives_clients_that_vanish)
{
    start();
    for (int i = 0; i < 16; ++i) { // each large answer is made before the next client is served
        const raw_client c{path_};
        (void)c.send(i % 2 == 0 ? large : ping.substr(0, 10));
    }
    expect_service();
}

TEST_F(control_socket, tells_clients_apart_and_when_they_have_left)
{
    std::vector<client_id> callers;
    std::vector<client_id> left;
    std::mutex mutex;
    rpc_.add("version", [&](const json::object&) -> outcome<json::value> {
        const std::lock_guard lock{mutex};
        callers.push_back(rpc_.caller());
        return json::value("ok");
    });
    rpc_.when_left([&](client_id who) {
        const std::lock_guard lock{mutex};
        left.push_back(who);
    });
    start({.clients = 2});
    {
        raw_client a{path_};
        raw_client b{path_};
        for (raw_client* const c : {&a, &b, &a}) {
            ASSERT_TRUE(c->send(ping));
            EXPECT_THAT(c->line(), HasSubstr("\"ok\""));
        }
        raw_client third{path_}; // in whose favour the one silent for longest goes
        ASSERT_TRUE(third.send(ping));
        EXPECT_THAT(third.line(), HasSubstr("\"ok\""));
        const std::lock_guard lock{mutex};
        ASSERT_EQ(callers.size(), 4U);
        EXPECT_EQ(callers[0], callers[2]);
        EXPECT_EQ(std::set<client_id>(callers.begin(), callers.end()).size(), 3U);
        EXPECT_EQ(std::ranges::count(callers, rpc::nobody), 0);
        EXPECT_EQ(left, std::vector<client_id>{callers[1]});
    }
    const auto all_left = [&] {
        const std::lock_guard lock{mutex};
        return left.size() == 3;
    };
    for (int i = 0; i < 1000 && !all_left(); ++i) {
        std::this_thread::sleep_for(10ms);
    }
    EXPECT_TRUE(all_left());
}

TEST_F(control_socket, is_for_its_owner_and_group_and_gone_afterwards)
{
    start();
    struct stat status {};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0660U);
    const auto second = server::listen(io_, path_, rpc_);
    ASSERT_TRUE(second.has_error());
    EXPECT_THAT(second.error().message, HasSubstr("somebody is listening"));
    expect_service();
    stop();
    EXPECT_FALSE(std::filesystem::exists(path_));
}

} // namespace
} // namespace strait::control
