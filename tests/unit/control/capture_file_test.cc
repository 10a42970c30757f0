// SPDX-License-Identifier: BSD-3-Clause
#include "control/capture_file.hh"

#include "control/trace_capture.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace strait::control {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string u32(std::uint32_t n)
{
    return {reinterpret_cast<const char*>(&n), sizeof n}; // in the order of who writes it
}
std::string u16(std::uint16_t n)
{
    return {reinterpret_cast<const char*>(&n), sizeof n};
}
constexpr std::uint32_t ethernet = 1;

std::string pcap_header(std::uint32_t link_type = ethernet)
{
    return u32(0xa1b2c3d4) + u16(2) + u16(4) + u32(0) + u32(0) + u32(65535) + u32(link_type);
}
std::string pcap_packet(std::string_view bytes, std::size_t length)
{
    return u32(1) + u32(2) + u32(static_cast<std::uint32_t>(bytes.size())) +
           u32(static_cast<std::uint32_t>(length)) + std::string{bytes};
}
// A block of pcapng.
std::string block(std::uint32_t type, std::string body)
{
    body.resize((body.size() + 3) / 4 * 4);
    const auto size = static_cast<std::uint32_t>(body.size() + 12);
    return u32(type) + u32(size) + body + u32(size);
}

class captures : public testing::Test {
protected:
    ~captures() override { std::filesystem::remove(path_); }

    void write(std::string_view bytes) const { std::ofstream{path_, std::ios::binary} << bytes; }
    [[nodiscard]] std::string why() const
    {
        auto file = capture_file::open(path_);
        if (file.has_error()) {
            return file.error().message;
        }
        for (;;) {
            const auto f = file->next();
            if (f.has_error()) {
                return f.error().message;
            }
            if (!*f) {
                return "nothing";
            }
        }
    }
    [[nodiscard]] std::vector<captured_frame> frames() const
    {
        auto file = capture_file::open(path_).value();
        std::vector<captured_frame> out;
        while (auto f = file.next().value()) {
            out.push_back(std::move(*f));
        }
        return out;
    }

    const std::string path_ = testing::TempDir() + "capture_file_test.pcap";
};

TEST_F(captures, are_read_in_order)
{
    write(pcap_header() + pcap_packet("abcdefghijklmnop", 16) + pcap_packet("xy", 100));
    const auto all = frames();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].bytes.size(), 16U);
    EXPECT_EQ(all[0].length, 16U);
    EXPECT_EQ(static_cast<char>(all[0].bytes[3]), 'd');
    EXPECT_EQ(all[1].bytes.size(), 2U);
    EXPECT_EQ(all[1].length, 100U);
}

TEST_F(captures, may_be_pcapng)
{
    const std::string section =
        block(0x0a0d0d0a, u32(0x1a2b3c4d) + u16(1) + u16(0) + u32(0xffffffff) + u32(0xffffffff));
    const std::string interface = block(1, u16(ethernet) + u16(0) + u32(0));
    const std::string packet = block(6, u32(0) + u32(0) + u32(5) + u32(5) + u32(9) + "hello");
    write(section + interface + packet + packet);
    const auto all = frames();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[1].bytes.size(), 5U);
    EXPECT_EQ(all[1].length, 9U);
}

TEST_F(captures, that_are_none_are_refused_by_name)
{
    EXPECT_EQ(why(), path_ + " cannot be read as a capture: No such file or directory");
    write("");
    EXPECT_THAT(why(), StartsWith(path_ + " cannot be read as a capture: "));
    write("tcp,nw_src=10.0.0.1 and what else is in a text");
    EXPECT_THAT(why(), HasSubstr("unknown file format"));
}

TEST_F(captures, of_other_links_are_refused)
{
    constexpr std::uint32_t linux_cooked = 113;
    write(pcap_header(linux_cooked));
    EXPECT_EQ(why(), path_ + " has no Ethernet frames; its link type is LINUX_SLL");
}

TEST_F(captures, that_end_within_a_packet_are_read_up_to_it)
{
    const std::string whole = pcap_header() + pcap_packet("abcdefghijklmnop", 16);
    write(whole + pcap_packet("abcdefghijklmnop", 16).substr(0, 20));
    EXPECT_THAT(why(), StartsWith(path_ + " cannot be read any further: "));
    // A packet that says it is longer than any.
    write(whole + u32(1) + u32(2) + u32(0x7fffffff) + u32(0x7fffffff));
    EXPECT_THAT(why(), StartsWith(path_ + " cannot be read any further: "));
}

TEST_F(captures, are_told_from_packets_in_words_and_digits)
{
    const auto is_file = [](std::string_view packet) {
        return traces_capture({{"port", "a"}, {"packet", packet}});
    };
    for (const char* const file : {"x.pcap", "x.pcapng", "a/b.cap", "/tmp/x", "./x", "../x"}) {
        EXPECT_TRUE(is_file(file)) << file;
    }
    for (const char* const packet : {"tcp", "0102", "ip,nw_src=10.0.0.0/8", "in_port=x.pcap.y"}) {
        EXPECT_FALSE(is_file(packet)) << packet;
    }
    EXPECT_TRUE(traces_capture({{"port", "a"}, {"packet", "tcp"}, {"nth", 3}}));
}

} // namespace
} // namespace strait::control
