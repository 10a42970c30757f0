// SPDX-License-Identifier: BSD-3-Clause
// BPDUs as bytes: what others send is read, what is damaged is refused.
#include "control/stp/bpdu.hh"

#include "dataplane/bpdu.hh"

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

namespace strait::stp {
namespace {

std::vector<std::byte> bytes_of(std::string_view hex)
{
    std::vector<std::byte> out;
    std::string digits;
    for (const char c : hex) {
        if (c != ' ') {
            digits += c;
        }
        if (digits.size() == 2) {
            out.push_back(static_cast<std::byte>(std::stoi(digits, nullptr, 16)));
            digits.clear();
        }
    }
    return out;
}

// As Linux's bridge sends it, with padding behind it.
constexpr std::string_view configuration =
    "01 80 c2 00 00 00 02 00 00 00 00 07 00 26 42 42 03 00 00 00 00 81"
    "80 00 02 00 00 00 00 07 00 00 00 64 80 00 02 00 00 00 00 08 80 02"
    "01 00 14 00 02 00 0f 00 00 00 00 00 00 00 00 00";
constexpr std::string_view rapid =
    "01 80 c2 00 00 00 02 00 00 00 00 07 00 27 42 42 03 00 00 02 02 7e"
    "10 00 02 00 00 00 00 07 00 00 4e 20 80 00 02 00 00 00 00 08 80 02"
    "01 00 14 00 02 00 0f 00 00 00 00 00 00 00 00 00";
constexpr std::string_view notification =
    "01 80 c2 00 00 00 02 00 00 00 00 07 00 07 42 42 03 00 00 00 80 00"
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00";
constexpr std::size_t llc = 14;
constexpr std::size_t start = 17;

TEST(stp_bpdu, configuration_is_read)
{
    const auto b = read(bytes_of(configuration));
    ASSERT_TRUE(b);
    EXPECT_EQ(b->is, bpdu::kind::configuration);
    EXPECT_TRUE(b->topology_changes);
    EXPECT_TRUE(b->acknowledges);
    EXPECT_EQ(b->sent_by, role::designated);
    EXPECT_EQ(b->priority.root, bridge_id{0x8000'0200'0000'0007});
    EXPECT_EQ(b->priority.root.priority(), 32768);
    EXPECT_EQ(b->priority.root.address().to_string(), "02:00:00:00:00:07");
    EXPECT_EQ(b->priority.cost, 100U);
    EXPECT_EQ(b->priority.port, 0x8002);
    EXPECT_EQ(b->timers, (times{1, 20, 2, 15}));
}

TEST(stp_bpdu, rapid_is_read)
{
    const auto b = read(bytes_of(rapid));
    ASSERT_TRUE(b);
    EXPECT_EQ(b->is, bpdu::kind::rapid);
    EXPECT_FALSE(b->topology_changes);
    EXPECT_TRUE(b->proposes && b->agrees && b->learns && b->forwards);
    EXPECT_EQ(b->sent_by, role::designated);
    EXPECT_EQ(b->priority.root.priority(), 4096);
    EXPECT_EQ(b->priority.cost, 20'000U);
}

TEST(stp_bpdu, notification_is_read)
{
    const auto b = read(bytes_of(notification));
    ASSERT_TRUE(b);
    EXPECT_EQ(b->is, bpdu::kind::topology_change);
}

TEST(stp_bpdu, what_is_written_is_read_as_it_was)
{
    std::mt19937_64 random{7};
    const auto some = [&random] { return random() % 2 == 0; };
    for (int i = 0; i < 2000; ++i) {
        bpdu b;
        b.is = static_cast<bpdu::kind>(random() % 3);
        if (b.is != bpdu::kind::topology_change) {
            b.topology_changes = some();
            b.priority = {bridge_id{random()}, static_cast<std::uint32_t>(random()),
                          bridge_id{random()}, static_cast<port_id>(random())};
            b.timers = {static_cast<std::uint16_t>(random() % 20),
                        static_cast<std::uint16_t>(20 + random() % 235),
                        static_cast<std::uint16_t>(1 + random() % 254),
                        static_cast<std::uint16_t>(1 + random() % 254)};
        }
        if (b.is == bpdu::kind::configuration) {
            b.acknowledges = some();
        }
        if (b.is == bpdu::kind::rapid) {
            b.proposes = some();
            b.agrees = some();
            b.learns = some();
            b.forwards = some();
            b.sent_by = static_cast<role>(random() % 4);
        }
        const frame f = write(b, dataplane::mac_address{0x02});
        EXPECT_TRUE(dataplane::may_be_bpdu(f));
        const auto again = read(f);
        ASSERT_TRUE(again);
        EXPECT_EQ(*again, b);
    }
}

TEST(stp_bpdu, what_is_cut_off_is_refused)
{
    for (const std::string_view text : {configuration, rapid, notification}) {
        const auto whole = bytes_of(text);
        const std::size_t needed = llc + static_cast<std::size_t>(whole.at(13));
        for (std::size_t size = 0; size <= whole.size(); ++size) {
            EXPECT_EQ(read(std::span{whole}.first(size)).has_value(), size >= needed) << size;
        }
        auto shorter = whole;
        shorter.at(13) = static_cast<std::byte>(std::to_integer<unsigned>(whole.at(13)) - 1);
        EXPECT_FALSE(read(shorter));
        auto longer = whole; // what later versions add is left out
        longer.at(13) = std::byte{40};
        EXPECT_TRUE(read(longer));
        longer.at(12) = std::byte{1}; // more than there is
        EXPECT_FALSE(read(longer));
        EXPECT_TRUE(read(longer, 256)); // there is, but not here
        EXPECT_FALSE(read(std::span{longer}.first(start), 400));
    }
}

TEST(stp_bpdu, what_is_none_is_refused)
{
    const auto with = [](std::string_view text, std::size_t at, unsigned value) {
        auto b = bytes_of(text);
        b.at(at) = static_cast<std::byte>(value);
        return read(b).has_value();
    };
    EXPECT_FALSE(with(rapid, 0, 0));          // to another address
    EXPECT_FALSE(with(rapid, 5, 2));          // LACP's
    EXPECT_FALSE(with(rapid, 12, 8));         // an Ethernet type
    EXPECT_FALSE(with(rapid, llc, 0xaa));     // SNAP
    EXPECT_FALSE(with(rapid, llc + 2, 0x13)); // not UI
    EXPECT_FALSE(with(rapid, start, 1));      // another protocol
    EXPECT_FALSE(with(rapid, start + 2, 0));  // RST is of version 2 and later
    EXPECT_FALSE(with(rapid, start + 2, 1));
    EXPECT_TRUE(with(rapid, start + 2, 3));
    EXPECT_FALSE(with(rapid, start + 3, 1)); // no type
    EXPECT_TRUE(with(configuration, start + 2, 9));
    // Of its own age nobody believes it.
    EXPECT_FALSE(with(configuration, start + 27, 20));
    EXPECT_TRUE(with(configuration, start + 27, 19));
    EXPECT_EQ(read(bytes_of(rapid))->timers.hello, 2);
    auto none = bytes_of(rapid);
    none.at(start + 31) = none.at(start + 33) = std::byte{};
    EXPECT_EQ(read(none)->timers.hello, 1);
    EXPECT_EQ(read(none)->timers.forward_delay, 1);
}

TEST(stp_bpdu, any_bytes_are_read_or_refused)
{
    std::mt19937 random{3};
    for (int i = 0; i < 50'000; ++i) {
        auto b = bytes_of(i % 2 == 0 ? rapid : configuration);
        for (int change = 0; change < 3; ++change) {
            b.at(random() % b.size()) = static_cast<std::byte>(random());
        }
        b.resize(random() % (b.size() + 1));
        if (const auto got = read(b)) {
            EXPECT_GE(got->timers.hello, 1);
        }
    }
}

} // namespace
} // namespace strait::stp
