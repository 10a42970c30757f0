// SPDX-License-Identifier: BSD-3-Clause
// The order of a capture's flows: by addresses, protocol and ports, whatever tags are before them.
#include "bench/generator/trace_order.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

namespace strait::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using packet = std::vector<unsigned char>;

constexpr std::uint32_t many = 1000;

void add(packet& to, std::initializer_list<unsigned> bytes)
{
    for (const unsigned b : bytes) {
        to.push_back(static_cast<unsigned char>(b));
    }
}

packet ethernet(std::initializer_list<unsigned> type)
{
    packet out(12, 2);
    add(out, type);
    return out;
}

packet ipv4(unsigned last, unsigned protocol, unsigned port, unsigned fragment = 0,
            bool tag = false)
{
    packet out = tag ? ethernet({0x81, 0, 0, 5, 8, 0}) : ethernet({8, 0});
    add(out, {0x46, 0, 0, 28, 0, 0, 0, fragment, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, last});
    add(out, {0, 0, 0, 0}); // an option
    add(out, {0, 1, 0, port, 0, 8, 0, 0});
    return out;
}

packet ipv6(unsigned last, unsigned port)
{
    packet out = ethernet({0x86, 0xdd});
    add(out, {0x60, 0, 0, 0, 0, 8, 17, 64});
    out.resize(out.size() + 31);
    add(out, {last, 0, 1, 0, port, 0, 8, 0, 0});
    return out;
}

class captures : public testing::Test {
protected:
    captures() { std::filesystem::create_directories(folder_); }
    ~captures() override { std::filesystem::remove_all(folder_); }

    // A file of the classic format (draft-ietf-opsawg-pcap), of Ethernet frames.
    std::string file(const std::vector<packet>& packets)
    {
        const std::string path = folder_ / "x.pcap";
        std::ofstream out{path, std::ios::binary};
        const auto word = [&](std::uint32_t w) {
            out.write(reinterpret_cast<const char*>(&w), sizeof(w));
        };
        for (const std::uint32_t w : {0xa1b2c3d4U, 0x00040002U, 0U, 0U, 65535U, 1U}) {
            word(w);
        }
        for (const packet& p : packets) {
            const auto length = static_cast<std::uint32_t>(p.size());
            for (const std::uint32_t w : {0U, 0U, length, length}) {
                word(w);
            }
            out.write(reinterpret_cast<const char*>(p.data()),
                      static_cast<std::streamsize>(p.size()));
        }
        return path;
    }

    std::filesystem::path folder_{testing::TempDir() + "trace_order_" + std::to_string(getpid())};
};

TEST_F(captures, say_their_flows_by_addresses_protocol_and_ports)
{
    constexpr unsigned udp = 17;
    constexpr unsigned tcp = 6;
    constexpr unsigned icmp = 1;
    const auto order =
        read_trace(file({ipv4(1, udp, 9), ipv4(2, udp, 9), ipv4(1, tcp, 9), ipv4(1, udp, 10),
                         ipv4(1, udp, 9), ipv4(1, udp, 9, 0, true), ipv6(1, 9), ipv6(1, 10),
                         ipv6(1, 9), ipv4(1, icmp, 1), ipv4(1, icmp, 2)}),
                   many);
    EXPECT_THAT(order.flow_of, ElementsAre(0, 1, 2, 3, 0, 0, 4, 5, 4, 6, 6));
    EXPECT_EQ(order.flows, 7U);
}

TEST_F(captures, have_fragments_that_are_not_the_first_without_ports)
{
    const auto order =
        read_trace(file({ipv4(1, 17, 9), ipv4(1, 17, 8, 5), ipv4(1, 17, 7, 9)}), many);
    EXPECT_THAT(order.flow_of, ElementsAre(0, 1, 1));
}

TEST_F(captures, of_anything_else_go_by_mac_addresses_and_type)
{
    packet short_ip = ethernet({8, 0, 0x45});
    const auto order = read_trace(file({ethernet({8, 6}), ethernet({0x88, 0xcc}), short_ip,
                                        ethernet({8, 6, 1, 2, 3}), packet{1, 2, 3}, packet(14, 2)}),
                                  many);
    EXPECT_THAT(order.flow_of, ElementsAre(0, 1, 2, 0, 3, 4));
}

TEST_F(captures, are_refused_with_a_sentence)
{
    const std::string empty = file({});
    EXPECT_THAT([&] { read_trace(empty, many); },
                ThrowsMessage<std::runtime_error>(HasSubstr("x.pcap has no packet")));
    const std::string two = file({ipv4(1, 6, 1), ipv4(2, 6, 1)});
    EXPECT_THAT([&] { read_trace(two, 1); },
                ThrowsMessage<std::runtime_error>(HasSubstr("more than the 1 flows")));
    EXPECT_THAT([&] { read_trace(folder_ / "none", many); },
                ThrowsMessage<std::runtime_error>(HasSubstr("none")));
    std::filesystem::resize_file(two, 60);
    EXPECT_THAT([&] { read_trace(two, many); },
                ThrowsMessage<std::runtime_error>(HasSubstr("x.pcap")));
}

} // namespace
} // namespace strait::bench
