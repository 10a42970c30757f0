// SPDX-License-Identifier: BSD-3-Clause
// The shared strong types.
#include "dataplane/types.hh"

#include <gtest/gtest.h>

namespace strait::dataplane {
namespace {

TEST(mac_address, reads_and_writes_text)
{
    const auto mac = mac_address::parse("0a:1B:2c:3d:4e:5f");
    ASSERT_TRUE(mac);
    EXPECT_EQ(mac->to_string(), "0a:1b:2c:3d:4e:5f");
    EXPECT_EQ(mac_address::parse("0a-1b-2c-3d-4e-5f"), mac);
    EXPECT_EQ(mac->bytes(), (std::array<std::uint8_t, 6>{0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f}));
}

TEST(mac_address, refuses_what_is_not_one)
{
    for (const char* text :
         {"", "0a:1b:2c:3d:4e", "0a:1b:2c:3d:4e:5", "0a:1b:2c:3d:4e:5f:60", "0a:1b-2c:3d:4e:5f",
          "0g:1b:2c:3d:4e:5f", "0a:1b:2c:3d:4e:-5", " a:1b:2c:3d:4e:5f", "0a1b2c3d4e5f",
          "0a.1b.2c.3d.4e.5f", "0a:1b:2c:3d:4e 5f"}) {
        EXPECT_FALSE(mac_address::parse(text)) << text;
    }
}

TEST(mac_address, tells_multicast_and_reserved)
{
    EXPECT_TRUE(mac_address::parse("ff:ff:ff:ff:ff:ff")->is_multicast());
    EXPECT_TRUE(mac_address::parse("01:00:5e:00:00:01")->is_multicast());
    EXPECT_FALSE(mac_address::parse("02:00:00:00:00:01")->is_multicast());
    EXPECT_TRUE(mac_address{}.is_zero());
    // IEEE 802.1D-2004 table 7-10: 00 to 0f.
    EXPECT_TRUE(mac_address::parse("01:80:c2:00:00:00")->is_reserved_multicast());
    EXPECT_TRUE(mac_address::parse("01:80:c2:00:00:0e")->is_reserved_multicast());
    EXPECT_TRUE(mac_address::parse("01:80:c2:00:00:0f")->is_reserved_multicast());
    EXPECT_FALSE(mac_address::parse("01:80:c2:00:00:10")->is_reserved_multicast());
    EXPECT_FALSE(mac_address::parse("01:80:c2:00:00:21")->is_reserved_multicast());
    EXPECT_FALSE(mac_address::parse("01:80:c2:00:01:00")->is_reserved_multicast());
    EXPECT_FALSE(mac_address::parse("01:80:c3:00:00:00")->is_reserved_multicast());
    EXPECT_FALSE(mac_address::parse("00:80:c2:00:00:00")->is_reserved_multicast());
}

TEST(mac_address, ignores_what_lies_beyond_six_bytes)
{
    EXPECT_EQ(mac_address{0xabcd'0000'0000'0001ULL}, mac_address{1});
}

TEST(big_endian, stands_as_on_the_wire)
{
    const be16 two{std::uint16_t{0x8100}};
    EXPECT_EQ(std::memcmp(&two, "\x81\x00", 2), 0);
    const be32 four{0x01020304U};
    EXPECT_EQ(std::memcmp(&four, "\x01\x02\x03\x04", 4), 0);
    EXPECT_EQ(static_cast<std::uint32_t>(four), 0x01020304U);
    const big_endian<std::uint64_t> eight{0x0102030405060708ULL};
    EXPECT_EQ(std::memcmp(&eight, "\x01\x02\x03\x04\x05\x06\x07\x08", 8), 0);
}

} // namespace
} // namespace strait::dataplane
