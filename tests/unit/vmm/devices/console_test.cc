// SPDX-License-Identifier: BSD-3-Clause
// Consoles of each kind: what is written comes out, what is typed goes in, nobody waits, and what
// is kept is the newest.
#include "vmm/devices/console.hh"

#include "vmm/devices/output_history.hh"

#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

namespace strait::vmm {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::size_t history = output_history::capacity;

std::span<const std::byte> as_bytes(std::string_view text)
{
    return std::as_bytes(std::span{text});
}

std::string numbered_lines(std::size_t bytes)
{
    std::string all;
    for (std::size_t i = 0; all.size() < bytes; ++i) {
        all += "line " + std::to_string(i) + "\n";
    }
    return all;
}

class console_test : public testing::Test {
protected:
    console_test()
    {
        (void)std::signal(SIGPIPE, SIG_DFL);
        folder = std::filesystem::temp_directory_path() / "strait-console-XXXXXX";
        EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    }
    ~console_test() override { std::filesystem::remove_all(folder); }

    void open(std::string_view where, console_options o = {})
    {
        c = console::open(io, where, std::move(o)).value();
        c->set_input([this](std::span<const std::byte> some) {
            const std::size_t taken = std::min(some.size(), input_room - input.size());
            input.append(reinterpret_cast<const char*>(some.data()), taken);
            return taken;
        });
    }
    [[nodiscard]] std::string refusal(std::string_view where)
    {
        const auto opened = console::open(io, where);
        return opened.has_error() ? opened.error().message : "accepted";
    }
    void put(std::string_view text) { c->put(as_bytes(text)); }
    // Until nothing happens for a moment.
    void run(std::chrono::milliseconds quiet = std::chrono::milliseconds{20})
    {
        io.restart();
        while (io.run_one_for(quiet) != 0) {}
    }
    // What could not be written is tried again each second.
    void run_until_tried_again()
    {
        io.restart();
        io.run_for(std::chrono::milliseconds{1200});
    }
    // Until nothing is left to do now.
    void run_now()
    {
        io.restart();
        while (io.poll() != 0) {}
    }
    [[nodiscard]] std::string path(const char* name = "console") const
    {
        return folder + "/" + name;
    }
    [[nodiscard]] std::string content(const char* name = "console") const
    {
        std::ifstream file{path(name)};
        std::stringstream all;
        all << file.rdbuf();
        return all.str();
    }

    std::string folder;
    boost::asio::io_context io;
    std::unique_ptr<console> c;
    std::string input;
    std::size_t input_room{std::size_t{1} << 20};
};

// What there is to read from a descriptor now.
std::string read_all(int fd)
{
    std::string all;
    std::array<char, 4096> some;
    pollfd state{.fd = fd, .events = POLLIN, .revents = 0};
    while (::poll(&state, 1, 20) == 1) {
        const ssize_t size = ::read(fd, some.data(), some.size());
        if (size <= 0) {
            break;
        }
        all.append(some.data(), static_cast<std::size_t>(size));
    }
    return all;
}

TEST_F(console_test, refuses_what_it_does_not_know)
{
    EXPECT_EQ(refusal(""), "the console  is none of stdio, file:PATH, socket:PATH and none");
    EXPECT_THAT(refusal("pty"), HasSubstr("none of stdio, file:PATH, socket:PATH and none"));
    EXPECT_THAT(refusal("file:"), HasSubstr("cannot be opened"));
    EXPECT_THAT(refusal("file:" + folder), HasSubstr("cannot be opened: Is a directory"));
    EXPECT_THAT(refusal("file:/dev/null"), EndsWith("is no regular file"));
    ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
    EXPECT_THAT(refusal("file:" + path("fifo")), EndsWith("is no regular file"));
    EXPECT_THAT(refusal("socket:"), HasSubstr("the socket path is empty"));
    EXPECT_THAT(refusal("socket:" + path("fifo")), HasSubstr("is not a socket"));
}

TEST_F(console_test, none_swallows)
{
    open("none");
    put("hello");
    run();
    EXPECT_EQ(c->lost(), 0U);
}

TEST_F(console_test, a_file_is_appended_to)
{
    std::ofstream{path()} << "before\n";
    open("file:" + path());
    put("one\n");
    run();
    EXPECT_EQ(content(), "before\none\n");
    std::thread vcpu{[this] {
        for (int i = 0; i < 1000; ++i) {
            put("x");
        }
    }};
    vcpu.join();
    run();
    EXPECT_EQ(content(), "before\none\n" + std::string(1000, 'x'));
    put("last words");
    c.reset();
    EXPECT_THAT(content(), EndsWith("xlast words"));
    EXPECT_EQ(std::filesystem::status(path()).type(), std::filesystem::file_type::regular);
}

TEST_F(console_test, a_file_keeps_the_newest)
{
    constexpr std::uint64_t limit = 64 * 1024;
    open("file:" + path(), {.file_bytes = limit});
    const std::string all = numbered_lines(1'000'000);
    std::uint64_t largest = 0;
    for (std::size_t at = 0; at < all.size(); at += 5000) {
        put(std::string_view{all}.substr(at, 5000));
        run_now();
        largest = std::max(largest, std::filesystem::file_size(path()));
    }
    run();
    const std::string kept = content();
    EXPECT_LE(largest, limit);
    EXPECT_GT(largest, limit * 3 / 4);
    EXPECT_GE(kept.size(), limit / 2 - 20);
    EXPECT_THAT(kept, StartsWith("line "));
    EXPECT_TRUE(all.ends_with(kept)) << "nothing is missing from it";
    EXPECT_EQ(c->lost(), 0U);
}

TEST_F(console_test, a_file_that_is_somebody_elses_is_refused_and_left)
{
    const std::string old = numbered_lines(300'000);
    std::ofstream{path()} << old;
    EXPECT_EQ(console::open(io, "file:" + path(), {.file_bytes = 64 * 1024}).error().message,
              "the console's file " + path() + " has " + std::to_string(old.size()) +
                  " bytes already, and at most 65536 are kept: move it away");
    EXPECT_EQ(content(), old);
    const auto other = console::open_file("file:" + path());
    ASSERT_TRUE(other.has_value());
    EXPECT_THAT(refusal("file:" + path()), EndsWith("is in use, by another guest or as a disk"));
    EXPECT_EQ(content(), old);
    EXPECT_FALSE(console::open_file("stdio").value());
}

TEST_F(console_test, a_file_that_is_emptied_goes_on)
{
    open("file:" + path(), {.file_bytes = 64 * 1024});
    put(std::string(62'000, 'x'));
    run();
    // Somebody empties it.
    {
        const std::ofstream emptied{path(), std::ios::trunc};
    }
    put(std::string(5000, 'y'));
    run();
    EXPECT_EQ(content(), std::string(5000, 'y'));
}

TEST_F(console_test, what_comes_faster_than_it_is_taken_is_lost_and_counted)
{
    open("file:" + path());
    const std::string all = numbered_lines(history + 10'000);
    put(all);
    testing::internal::CaptureStderr();
    run();
    EXPECT_EQ(content(), all.substr(all.size() - history));
    EXPECT_EQ(c->lost(), all.size() - history);
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                EndsWith(" warning console: bytes lost, since nobody took them: " +
                         std::to_string(all.size() - history) + "\n"));
}

// No file can be longer, as if the disk were full.
class full_disk {
public:
    explicit full_disk(rlim_t most)
    {
        (void)std::signal(SIGXFSZ, SIG_IGN);
        EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &before_), 0);
        const rlimit small{most, before_.rlim_max};
        EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    }
    full_disk(const full_disk&) = delete;
    full_disk& operator=(const full_disk&) = delete;
    ~full_disk() { EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &before_), 0); }

private:
    rlimit before_{};
};

constexpr std::string_view too_large =
    " cannot be written: File too large; what the guest says last is kept, and tried again\n";

TEST_F(console_test, a_file_that_cannot_be_written_is_told_of_once_and_goes_on)
{
    open("file:" + path());
    std::string said;
    testing::internal::CaptureStderr();
    {
        const full_disk full{4096};
        put(std::string(5000, 'x'));
        run();
        for (int i = 0; i < 100; ++i) {
            put("y");
            run_now();
        }
        run_until_tried_again();
        said = testing::internal::GetCapturedStderr();
    }
    EXPECT_THAT(said, EndsWith(" error console: " + path() + std::string{too_large}));
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1);
    put("z");
    run_now();
    EXPECT_EQ(content(), std::string(4096, 'x')) << "not at each byte";
    run_until_tried_again();
    EXPECT_EQ(content(), std::string(5000, 'x') + std::string(100, 'y') + "z");
    EXPECT_EQ(c->lost(), 0U);
}

TEST_F(console_test, a_file_that_is_full_at_its_limit_goes_on)
{
    open("file:" + path(), {.file_bytes = 64 * 1024});
    put(std::string(60'000, 'x'));
    run();
    testing::internal::CaptureStderr();
    {
        const full_disk full{20'000}; // where the newest half does not fit
        put(std::string(10'000, 'y'));
        run();
    }
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr(" cannot be written: "));
    run_until_tried_again();
    EXPECT_THAT(content(), EndsWith("x" + std::string(10'000, 'y')));
}

class client {
public:
    explicit client(const std::string& path) : fd_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)}
    {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.data(), path.size());
        EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    client(const client&) = delete;
    client& operator=(const client&) = delete;
    ~client() { close(); }
    void close()
    {
        ::close(fd_);
        fd_ = -1;
    }
    [[nodiscard]] std::string read() const { return read_all(fd_); }
    void write(std::string_view text) const
    {
        EXPECT_EQ(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }
    void shut() const { ::shutdown(fd_, SHUT_WR); }
    [[nodiscard]] bool ended() const
    {
        char byte = 0;
        return ::recv(fd_, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
    }

private:
    int fd_;
};

TEST_F(console_test, a_socket_is_its_owners_alone_and_goes_with_the_console)
{
    open("socket:" + path());
    struct stat status {};
    ASSERT_EQ(::stat(path().c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    EXPECT_THAT(refusal("socket:" + path()), HasSubstr("somebody is listening"));
    c.reset();
    EXPECT_FALSE(std::filesystem::exists(path()));

    open("socket:" + path());
    std::filesystem::remove(path());
    std::ofstream{path()} << "another's";
    c.reset();
    EXPECT_EQ(content(), "another's") << "what is not ours stays";
}

TEST_F(console_test, a_client_gets_what_was_before_and_what_comes)
{
    open("socket:" + path());
    put("before\n");
    run();
    client one{path()};
    run();
    EXPECT_EQ(one.read(), "before\n");
    put("after\n");
    run();
    EXPECT_EQ(one.read(), "after\n");
    one.write("typed");
    run();
    EXPECT_EQ(input, "typed");
    // It says no more, and still listens.
    one.shut();
    run();
    put("more\n");
    run();
    EXPECT_EQ(one.read(), "more\n");
    one.close();
    put("to nobody\n");
    put("and again\n");
    run();
    put("and again\n");
    run();
    client two{path()};
    run();
    EXPECT_EQ(two.read(), "before\nafter\nmore\nto nobody\nand again\nand again\n");
    EXPECT_EQ(c->lost(), 0U);
}

TEST_F(console_test, the_newest_client_takes_over)
{
    open("socket:" + path());
    client one{path()};
    run();
    client two{path()};
    run();
    EXPECT_TRUE(one.ended());
    put("hello");
    run();
    EXPECT_EQ(two.read(), "hello");
    two.write("from two");
    run();
    EXPECT_EQ(input, "from two");
}

TEST_F(console_test, a_new_client_gets_the_newest_64_kib)
{
    open("socket:" + path());
    const std::string all = numbered_lines(3 * history);
    put(all);
    run();
    client one{path()};
    std::string got;
    for (int i = 0; i < 10; ++i) {
        run();
        got += one.read();
    }
    EXPECT_EQ(got, all.substr(all.size() - history));
    EXPECT_EQ(c->lost(), 0U) << "nobody was there to lose it";
}

TEST_F(console_test, a_client_that_does_not_read_loses_and_nobody_waits)
{
    open("socket:" + path());
    client one{path()};
    run();
    const std::string all = numbered_lines(4'000'000);
    testing::internal::CaptureStderr();
    for (std::size_t at = 0; at < all.size(); at += 10'000) {
        put(std::string_view{all}.substr(at, 10'000));
        run_now();
    }
    EXPECT_THAT(testing::internal::GetCapturedStderr(), "") << "it is not told before it reads";
    std::string got;
    testing::internal::CaptureStderr();
    for (int i = 0; i < 50; ++i) {
        run_now();
        got += one.read();
    }
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("console: bytes lost"));
    EXPECT_GT(c->lost(), 0U);
    EXPECT_EQ(got.size() + c->lost(), all.size());
    EXPECT_TRUE(got.ends_with(all.substr(all.size() - history)));
    EXPECT_THAT(got, StartsWith(all.substr(0, 1000)));
}

TEST_F(console_test, input_that_the_guest_does_not_take_waits)
{
    open("socket:" + path());
    client one{path()};
    const std::string all = numbered_lines(100'000);
    input_room = 10'000;
    one.write(all);
    run();
    EXPECT_EQ(input, all.substr(0, 10'000));
    input_room = all.size();
    run(std::chrono::milliseconds{120});
    EXPECT_EQ(input, all);
}

TEST_F(console_test, the_last_words_reach_a_slow_reader)
{
    open("socket:" + path());
    client one{path()};
    run();
    const std::string all = numbered_lines(60'000);
    put(all);
    put("power down\n");
    std::string got;
    std::thread reader{[&] {
        while (!one.ended()) {
            got += one.read();
        }
    }};
    c.reset();
    reader.join();
    EXPECT_EQ(got, all + "power down\n");
}

TEST_F(console_test, it_ends_though_nobody_reads)
{
    open("socket:" + path());
    client one{path()};
    run();
    for (int i = 0; i < 100; ++i) {
        put(std::string(10'000, 'x'));
        run_now();
    }
    const auto begin = std::chrono::steady_clock::now();
    c.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds{5});
}

// In place of stdin and stdout; put back at the end.
class instead {
public:
    instead(int in, int out) : in_{::dup(STDIN_FILENO)}, out_{::dup(STDOUT_FILENO)}
    {
        std::fflush(stdout);
        ::dup2(in, STDIN_FILENO);
        ::dup2(out, STDOUT_FILENO);
    }
    instead(const instead&) = delete;
    instead& operator=(const instead&) = delete;
    ~instead()
    {
        ::dup2(in_, STDIN_FILENO);
        ::dup2(out_, STDOUT_FILENO);
        ::close(in_);
        ::close(out_);
    }

private:
    int in_;
    int out_;
};

TEST_F(console_test, a_terminal_is_raw_while_it_is_the_console)
{
    int ours = -1;
    int theirs = -1;
    ASSERT_EQ(::openpty(&ours, &theirs, nullptr, nullptr, nullptr), 0);
    termios before{};
    termios during{};
    termios after{};
    ASSERT_EQ(::tcgetattr(theirs, &before), 0);
    const int flags = ::fcntl(theirs, F_GETFL);
    {
        const instead terminal{theirs, theirs};
        open("stdio");
        ASSERT_EQ(::tcgetattr(theirs, &during), 0);
        put("hello\r\n");
        EXPECT_EQ(::write(ours,
                          "\x03\x1a"
                          "a",
                          3),
                  3); // no signal
        run();
        c.reset();
    }
    EXPECT_EQ(input, "\x03\x1a"
                     "a");
    EXPECT_THAT(read_all(ours), StartsWith("hello\r"));
    EXPECT_NE(before.c_lflag & (ICANON | ECHO | ISIG), 0U);
    EXPECT_EQ(during.c_lflag & (ICANON | ECHO | ISIG), 0U);
    EXPECT_NE(during.c_oflag & OPOST, 0U);
    ASSERT_EQ(::tcgetattr(theirs, &after), 0);
    EXPECT_EQ(before.c_lflag, after.c_lflag);
    EXPECT_EQ(before.c_iflag, after.c_iflag);
    EXPECT_EQ(before.c_oflag, after.c_oflag);
    EXPECT_EQ(::fcntl(theirs, F_GETFL), flags) << "it blocks again";
    ::close(ours);
    ::close(theirs);
}

TEST_F(console_test, stdin_and_stdout_may_be_files_or_nothing)
{
    std::ofstream{path("in")} << "from a file";
    const int in = ::open(path("in").c_str(), O_RDONLY | O_CLOEXEC);
    const int out = ::open(path("out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    {
        const instead files{in, out};
        open("stdio");
        put("to a file");
        run();
        c.reset();
    }
    EXPECT_EQ(input, "from a file");
    EXPECT_EQ(content("out"), "to a file");
    {
        const instead nothing{null, null};
        open("stdio");
        put("to nobody");
        run();
        c.reset();
    }
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    {
        const instead gone{null, pipe[1]};
        ::close(pipe[0]);
        open("stdio");
        put("to nobody");
        run();
        put("to nobody");
        run();
        c.reset();
    }
    ::close(pipe[1]);
    ::close(in);
    ::close(out);
    ::close(null);
}

TEST_F(console_test, stdout_on_a_full_disk_is_told_of_once_and_goes_on)
{
    const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int out = ::open(path("out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    testing::internal::CaptureStderr();
    {
        const instead files{null, out};
        open("stdio");
        {
            const full_disk full{4096};
            put(std::string(5000, 'x'));
            run_until_tried_again();
        }
        run_until_tried_again();
        put("z");
        run();
        c.reset();
    }
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_THAT(said, EndsWith(" error console: stdout" + std::string{too_large}));
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1);
    EXPECT_EQ(content("out"), std::string(5000, 'x') + "z");
    ::close(null);
    ::close(out);
}

TEST(output_history, keeps_the_newest)
{
    const event news = event::make().value();
    output_history h{news};
    std::array<std::byte, 100> some{};
    std::uint64_t position = 0;
    EXPECT_EQ(h.read(position, some), 0U);
    h.put(as_bytes("ab"));
    EXPECT_TRUE(news.take());
    h.put(as_bytes("c"));
    EXPECT_FALSE(news.take()) << "it was told";
    EXPECT_EQ(h.read(position, std::span{some}.first(2)), 2U);
    EXPECT_EQ(h.read(position, some), 1U);
    EXPECT_EQ(some[0], std::byte{'c'});
    h.put(as_bytes("d"));
    EXPECT_FALSE(news.take()) << "nobody waits";
    for (std::size_t i = 0; i < history; i += 8) {
        h.put(as_bytes("12345678"));
    }
    EXPECT_EQ(h.lost(), 0U);
    EXPECT_EQ(h.oldest(), 4U);
    EXPECT_EQ(h.read(position, some), 100U);
    EXPECT_EQ(h.lost(), 1U);
    EXPECT_EQ(some[0], std::byte{'1'});
    EXPECT_EQ(position, 104U);
}

} // namespace
} // namespace strait::vmm
