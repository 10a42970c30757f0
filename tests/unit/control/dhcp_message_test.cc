// SPDX-License-Identifier: BSD-3-Clause
// DHCP messages as they should be, and each way in which they lie.
#include "dhcp_messages.hh"

#include <gtest/gtest.h>

namespace strait::control {
namespace {

using namespace testing_support;
using kind4 = dhcp4_message::kind;
using kind6 = dhcp6_message::kind;

const bytes ten_five{10, 0, 0, 5};
const bytes end_option{255};

std::optional<dhcp4_message> read4(const message4& m)
{
    // Of exact size, so that AddressSanitizer sees what is read behind it.
    const bytes b = m.build();
    return read_dhcp4(as_span(b));
}

TEST(dhcp4, is_read_with_its_lease)
{
    message4 m;
    m.operation = 2;
    m.yours = ten_five;
    m.options = type4(kind4::acknowledge) + option4(51, u32(3600)) + bytes{0, 0} +
                option4(54, {10, 0, 0, 1}) + end_option + bytes{53, 9};
    const auto read = read4(m);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->type, kind4::acknowledge);
    EXPECT_EQ(read->transaction, 0x1234'5678U);
    EXPECT_EQ(read->client, mac_of(m.client));
    EXPECT_EQ(read->yours, address_of(ten_five));
    EXPECT_FALSE(read->current.is_set());
    EXPECT_FALSE(read->requested);
    EXPECT_EQ(read->lease, 3600U);
}

TEST(dhcp4, has_what_a_client_asks_for)
{
    message4 m;
    m.current = {10, 0, 0, 6};
    m.options = type4(kind4::request) + option4(50, ten_five);
    const auto read = read4(m);
    ASSERT_TRUE(read) << "options may end with the message";
    EXPECT_EQ(read->requested, address_of(ten_five));
    EXPECT_EQ(read->current, address_of({10, 0, 0, 6}));
}

TEST(dhcp4, overloads_its_names)
{
    message4 m;
    m.options = option4(52, {3}) + end_option;
    std::copy_n(type4(kind4::request).begin(), 3, m.file.begin());
    m.file[3] = 255;
    const bytes requested = option4(50, ten_five);
    std::copy(requested.begin(), requested.end(), m.sname.begin());
    const auto read = read4(m);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->type, kind4::request);
    EXPECT_EQ(read->requested, address_of(ten_five));

    m.options = option4(52, {1}) + end_option;
    EXPECT_FALSE(read4(m)->requested) << "of the name that is none";
    m.options = option4(52, {2}) + end_option;
    EXPECT_FALSE(read4(m)) << "without a type";
    m.options = option4(52, {3}) + end_option;
    m.sname[63] = 50; // with its length behind the field's end
    std::fill_n(m.sname.begin(), 63, std::uint8_t{0});
    EXPECT_FALSE(read4(m));
    m.sname[62] = 52; // overloads once more
    m.sname[63] = 1;
    EXPECT_FALSE(read4(m));
}

TEST(dhcp4, that_lies_is_none)
{
    const bytes right = type4(kind4::request);
    const auto with = [](const bytes& options) {
        message4 m;
        m.options = options;
        return read4(m).has_value();
    };
    EXPECT_TRUE(with(right));
    EXPECT_FALSE(with({}));
    EXPECT_FALSE(with(end_option + right));
    EXPECT_FALSE(with({53}));
    EXPECT_FALSE(with({53, 1}));
    EXPECT_FALSE(with({53, 2, 1, 1}));
    EXPECT_FALSE(with(option4(53, {0})));
    EXPECT_FALSE(with(option4(53, {9})));
    EXPECT_FALSE(with(right + right)) << "twice";
    EXPECT_FALSE(with(right + option4(50, {1, 2, 3})));
    EXPECT_FALSE(with(right + option4(51, {1})));
    EXPECT_FALSE(with(right + option4(50, ten_five) + option4(50, ten_five)));
    EXPECT_FALSE(with(right + bytes{12, 200, 1, 2}));
    message4 m;
    m.options = right;
    m.operation = 2;
    EXPECT_FALSE(read4(m)) << "a request from a server";
    m.options = type4(kind4::acknowledge);
    m.operation = 1;
    EXPECT_FALSE(read4(m)) << "an answer from a client";
    m.options = right;
    bytes whole = m.build();
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const bytes some{whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)};
        EXPECT_FALSE(read_dhcp4(as_span(some))) << size;
    }
    whole[236] ^= 1;
    EXPECT_FALSE(read_dhcp4(as_span(whole))) << "another cookie";
    whole = m.build();
    whole[1] = 6;
    EXPECT_FALSE(read_dhcp4(as_span(whole))) << "no Ethernet";
    whole = m.build();
    whole[2] = 16;
    EXPECT_FALSE(read_dhcp4(as_span(whole)));
}

const bytes fd_five{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5};

TEST(dhcp6, is_read_with_its_addresses)
{
    const bytes b =
        message6(kind6::reply, 0xabcdef,
                 option6(1, bytes(10)) + association6(address6(fd_five, 600)) +
                     option6(4, u32(2) + address6(fd_five, 60)) + option6(25, bytes(12)));
    const auto m = read_dhcp6(as_span(b));
    ASSERT_TRUE(m);
    EXPECT_EQ(m->type, kind6::reply);
    EXPECT_EQ(m->transaction, 0xabcdefU);
    ASSERT_EQ(m->addresses.size(), 2U);
    EXPECT_EQ(m->addresses[0].is, address_of(fd_five));
    EXPECT_EQ(m->addresses[0].valid, 600U);
    EXPECT_EQ(m->addresses[1].valid, 60U);
}

TEST(dhcp6, has_no_addresses_of_what_failed)
{
    const bytes failed = option6(13, u16(2));
    const auto count = [](const bytes& options) {
        const bytes b = message6(kind6::reply, 1, options);
        const auto m = read_dhcp6(as_span(b));
        return m ? static_cast<int>(m->addresses.size()) : -1;
    };
    EXPECT_EQ(count(association6(address6(fd_five, 600) + option6(13, u16(0)))), 1);
    EXPECT_EQ(count(association6(address6(fd_five, 600) + failed)), 0);
    EXPECT_EQ(count(association6(failed + address6(fd_five, 600))), 0);
    EXPECT_EQ(count(association6(address6(fd_five, 600, failed))), 0);
    EXPECT_EQ(count(association6(option6(13, {0}) + address6(fd_five, 600))), 0);
    bytes many;
    for (int i = 0; i < 100; ++i) {
        many = many + association6(address6(fd_five, 600));
    }
    EXPECT_EQ(count(many), static_cast<int>(dhcp6_message::most_addresses));
}

TEST(dhcp6, that_lies_is_none)
{
    const auto reads = [](const bytes& b) { return read_dhcp6(as_span(b)).has_value(); };
    EXPECT_TRUE(reads(message6(kind6::solicit, 1, {})));
    EXPECT_FALSE(reads(u32(0)));
    EXPECT_FALSE(reads(bytes{12, 0, 0, 1})) << "a relay's";
    const bytes right = message6(kind6::reply, 1, association6(address6(fd_five, 1)));
    for (std::size_t size = 0; size < right.size(); ++size) {
        const bytes some{right.begin(), right.begin() + static_cast<std::ptrdiff_t>(size)};
        EXPECT_EQ(reads(some), size == 4) << size;
    }
    EXPECT_FALSE(reads(message6(kind6::reply, 1, option6(3, bytes(11)))));
    EXPECT_FALSE(reads(message6(kind6::reply, 1, association6(option6(5, bytes(23))))));
    EXPECT_FALSE(reads(message6(kind6::reply, 1, association6(bytes{0, 5, 0, 99}))));
    EXPECT_FALSE(reads(message6(kind6::reply, 1, association6(address6(fd_five, 1, {1})))));
}

TEST(dhcp_frame, is_a_whole_datagram)
{
    using namespace guard::testing_support;
    message4 m;
    m.options = type4(kind4::request) + option4(50, ten_five);
    const auto frame = [&](unsigned place, const bytes& datagram) {
        return ether(everybody, mac(1), 0x0800,
                     ipv4(guard::testing_support::v4(7), bytes(4, 0xff), 17, datagram, place));
    };
    const bytes datagram = udp(68, 67, m.build());
    const bytes right = frame(0, datagram);
    const auto read = read_dhcp_frame(as_span(right));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->source, mac_of(mac(1)));
    EXPECT_EQ(read->from, address_of(guard::testing_support::v4(7)));
    EXPECT_EQ(std::get<dhcp4_message>(read->message).requested, address_of(ten_five));
    const bytes in_vlan = tagged(right, 9);
    EXPECT_TRUE(read_dhcp_frame(as_span(in_vlan)));
    const bytes first = frame(0x2000, datagram);
    EXPECT_FALSE(read_dhcp_frame(as_span(first))) << "a fragment";
    bytes longer = datagram;
    longer[5] = static_cast<std::uint8_t>(longer[5] + 1);
    const bytes lies = frame(0, longer);
    EXPECT_FALSE(read_dhcp_frame(as_span(lies))) << "longer than the frame";
    longer[4] = 0;
    longer[5] = 7;
    const bytes short_of_header = frame(0, longer);
    EXPECT_FALSE(read_dhcp_frame(as_span(short_of_header)));
    for (std::size_t size = 0; size < right.size(); ++size) {
        const bytes some{right.begin(), right.begin() + static_cast<std::ptrdiff_t>(size)};
        EXPECT_FALSE(read_dhcp_frame(as_span(some))) << size;
    }
}

} // namespace
} // namespace strait::control
