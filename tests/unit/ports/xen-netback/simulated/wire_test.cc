// SPDX-License-Identifier: BSD-3-Clause
// Messages: what is written is read, what is garbage is found out, and nothing of it leaks.
#include "ports/xen-netback/simulated/wire.hh"

#include <array>
#include <cerrno>
#include <random>
#include <thread>

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace strait::xen::simulated::wire {
namespace {

std::size_t open_descriptors()
{
    std::size_t count = 0;
    DIR* const all = ::opendir("/proc/self/fd");
    while (::readdir(all) != nullptr) {
        ++count;
    }
    ::closedir(all);
    return count;
}

class a_message : public testing::Test {
protected:
    a_message()
    {
        int pair[2] = {-1, -1};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        one = file_descriptor{pair[0]};
        two = file_descriptor{pair[1]};
    }
    int take(bool now = true)
    {
        descriptors = {};
        return receive(two.get(), message, descriptors, now);
    }

    file_descriptor one;
    file_descriptor two;
    std::vector<std::byte> message;
    std::array<file_descriptor, most_descriptors> descriptors;
};

TEST_F(a_message, is_read_as_it_was_written)
{
    writer inner;
    inner.add(std::uint64_t{~0ULL});
    writer w;
    w.add(request::bind).add(true).add(domain_id{7}).add(std::uint32_t{1}).add("").add("text");
    w.append(inner).append(writer{});
    reader r{w.bytes()};
    EXPECT_EQ(r.number<request>(), request::bind);
    EXPECT_TRUE(r.number<bool>());
    EXPECT_EQ(r.number<domain_id>(), domain_id{7});
    EXPECT_EQ(r.number<std::uint32_t>(), 1U);
    EXPECT_EQ(r.text(), "");
    EXPECT_EQ(r.text(), "text");
    EXPECT_FALSE(r.complete());
    EXPECT_EQ(r.number<std::uint64_t>(), ~0ULL);
    EXPECT_TRUE(r.complete());
}

TEST_F(a_message, is_zero_beyond_its_end_and_says_so)
{
    writer w;
    w.add(std::uint16_t{0xffff});
    reader r{w.bytes()};
    EXPECT_EQ(r.number<std::uint32_t>(), 0U);
    EXPECT_FALSE(r.ok());
    EXPECT_EQ(r.number<std::uint8_t>(), 0U) << "there was a byte, but it is too late";
    EXPECT_EQ(r.text(), "");
    EXPECT_FALSE(r.complete());
    EXPECT_TRUE(reader{}.complete());
}

TEST_F(a_message, with_a_text_longer_than_itself_is_garbage)
{
    for (const std::uint32_t size : {5U, 0x7fff'ffffU, 0xffff'ffffU}) {
        writer w;
        w.add(size).add(std::uint32_t{0x6161'6161});
        reader r{w.bytes()};
        EXPECT_EQ(r.text(), "") << size;
        EXPECT_FALSE(r.ok()) << size;
    }
}

TEST_F(a_message, of_random_bytes_is_read_without_harm)
{
    std::mt19937 random{1};
    for (int i = 0; i < 20'000; ++i) {
        std::vector<std::byte> bytes(random() % 64);
        for (auto& b : bytes) {
            b = static_cast<std::byte>(random());
        }
        reader r{bytes};
        std::size_t read = 0;
        while (r.ok() && read < 64) {
            read += (random() & 1U) != 0 ? r.text().size() + 1 : (void(r.number<bool>()), 1U);
        }
        EXPECT_LE(read, 64U);
    }
}

TEST_F(a_message, comes_whole_and_alone)
{
    writer first;
    first.add("first");
    writer second;
    second.add("second");
    ASSERT_EQ(send(one.get(), first.bytes(), {}, true), 0);
    ASSERT_EQ(send(one.get(), second.bytes(), {}, true), 0);
    ASSERT_EQ(take(), 0);
    EXPECT_EQ(reader{message}.text(), "first");
    EXPECT_EQ(message.size(), first.bytes().size());
    ASSERT_EQ(take(), 0);
    EXPECT_EQ(reader{message}.text(), "second");
    EXPECT_EQ(take(), EAGAIN);
}

TEST_F(a_message, is_empty_at_the_end)
{
    one = {};
    ASSERT_EQ(take(false), 0);
    EXPECT_TRUE(message.empty());
    EXPECT_EQ(send(two.get(), std::vector<std::byte>(1), {}, true), EPIPE) << "and no signal";
}

TEST_F(a_message, is_131072_bytes_at_most)
{
    const int room = 1 << 20;
    ASSERT_EQ(::setsockopt(one.get(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room), 0);
    ASSERT_EQ(send(one.get(), std::vector<std::byte>(longest), {}, true), 0);
    ASSERT_EQ(take(), 0);
    EXPECT_EQ(message.size(), longest);
    ASSERT_EQ(send(one.get(), std::vector<std::byte>(longest + 1), {}, true), 0);
    EXPECT_EQ(take(), EMSGSIZE);
}

TEST_F(a_message, brings_descriptors_that_are_then_the_receivers)
{
    const auto before = open_descriptors();
    {
        const file_descriptor file{::open("/dev/null", O_RDWR | O_CLOEXEC)};
        const std::array<int, 2> sent{file.get(), file.get()};
        writer w;
        w.add("x");
        ASSERT_EQ(send(one.get(), w.bytes(), sent, true), 0);
        ASSERT_EQ(take(), 0);
        ASSERT_TRUE(descriptors[0] && descriptors[1]);
        EXPECT_NE(::fcntl(descriptors[0].get(), F_GETFD) & FD_CLOEXEC, 0);
    }
    descriptors = {};
    EXPECT_EQ(open_descriptors(), before);
}

TEST_F(a_message, with_too_many_descriptors_is_refused_and_they_are_closed)
{
    const auto before = open_descriptors();
    std::array<int, 16> many{};
    for (auto& fd : many) {
        fd = one.get();
    }
    union {
        char bytes[CMSG_SPACE(sizeof many)];
        cmsghdr align;
    } control{};
    std::byte payload{};
    iovec part{&payload, 1};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof control.bytes;
    cmsghdr* const first = CMSG_FIRSTHDR(&header);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(sizeof many);
    std::memcpy(CMSG_DATA(first), many.data(), sizeof many);
    ASSERT_EQ(::sendmsg(one.get(), &header, 0), 1);
    EXPECT_EQ(take(), EMSGSIZE);
    descriptors = {};
    EXPECT_EQ(open_descriptors(), before);
}

TEST_F(a_message, is_waited_for_unless_it_must_be_there_now)
{
    EXPECT_EQ(take(true), EAGAIN);
    std::thread late{[this] {
        ::usleep(20'000);
        writer w;
        w.add("late");
        EXPECT_EQ(send(one.get(), w.bytes(), {}, false), 0);
    }};
    EXPECT_EQ(take(false), 0);
    EXPECT_EQ(reader{message}.text(), "late");
    late.join();
}

TEST_F(a_message, to_who_does_not_read_is_refused_when_there_is_no_room)
{
    const std::vector<std::byte> big(65'536);
    int sent = 0;
    int code = 0;
    while (code == 0 && sent < 1000) {
        code = send(one.get(), big, {}, true);
        ++sent;
    }
    EXPECT_EQ(code, EAGAIN);
}

} // namespace
} // namespace strait::xen::simulated::wire
