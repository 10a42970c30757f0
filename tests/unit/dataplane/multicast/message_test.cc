// SPDX-License-Identifier: BSD-3-Clause
// IGMP and MLD as they are and as they should not be.
#include "tests/unit/dataplane/multicast/messages.hh"

#include "dataplane/multicast/message.hh"

#include <gtest/gtest.h>

#include <memory>

namespace strait::test {
namespace {

using kind = multicast::message::kind;
using multicast::ip_address;
using multicast::message;
using multicast::wish;

constexpr std::uint32_t host = 0x0a00'0001;
constexpr std::uint32_t group = 0xef01'0203;
constexpr std::uint32_t all_hosts = 0xe000'0001;
const frame unset(16);
const frame all_nodes = six_group(1, 2);
const frame mld_routers = six_group(0x16, 2);

// Of exactly these bytes, so that AddressSanitizer sees what leaves them.
struct parsed : message {
    explicit parsed(const frame& f) : bytes{new std::byte[f.size()]}
    {
        std::memcpy(bytes.get(), f.data(), f.size());
        const std::span<const std::byte> all{bytes.get(), f.size()};
        static_cast<message&>(*this) =
            !f.empty() && f[0] >> 4 == 6 ? multicast::read_ipv6(all) : multicast::read_ipv4(all);
    }
    std::unique_ptr<std::byte[]> bytes;
};

kind kind_of(const frame& f)
{
    return parsed{f}.is;
}

std::vector<std::pair<wish, std::uint32_t>> wishes(const message& m)
{
    std::vector<std::pair<wish, std::uint32_t>> out;
    multicast::record_reader reader{m};
    multicast::group_record r{};
    while (reader.next(r)) {
        out.emplace_back(r.is, static_cast<std::uint32_t>(r.group.low));
    }
    return out;
}

// The header's checksum after a change.
frame summed(frame f)
{
    put16(f, 10, 0);
    put_sum(f, 10, plain_sum(f, 0, (f[0] & 0xfU) * 4));
    return f;
}

TEST(igmp, queries)
{
    const parsed general{ip4(host, all_hosts, igmp(0x11, 100, 0))};
    EXPECT_EQ(general.is, kind::query);
    EXPECT_FALSE(general.specific);
    EXPECT_TRUE(general.from_address);
    EXPECT_EQ(general.response_ms, 10'000U);
    EXPECT_EQ(parsed{ip4(host, all_hosts, igmp(0x11, 0, 0))}.response_ms, 10'000U) << "version 1";
    EXPECT_FALSE(parsed{ip4(0, all_hosts, igmp(0x11, 100, 0))}.from_address);
    const parsed specific{ip4(host, group, igmp(0x11, 10, group))};
    EXPECT_TRUE(specific.specific && specific.shortens);
    EXPECT_EQ(specific.group, ip_address::v4(group));
    EXPECT_EQ(specific.response_ms, 1000U);
    EXPECT_TRUE((parsed{ip4(host, all_hosts, igmp(0x11, 10, group))}.specific)) << "as Linux does";

    const auto third = [](std::uint8_t code, std::uint8_t flags, unsigned sources,
                          std::size_t there) {
        frame body = igmp(0x11, code, group);
        append(body, query_rest(flags, sources));
        body.resize(body.size() + there * 4);
        return ip4(host, group, body);
    };
    EXPECT_TRUE(parsed{third(10, 2, 0, 0)}.shortens);
    EXPECT_FALSE(parsed{third(10, 8, 0, 0)}.shortens) << "S flag";
    EXPECT_FALSE(parsed{third(10, 2, 1, 1)}.shortens) << "of one source";
    EXPECT_EQ(kind_of(third(10, 2, 2, 1)), kind::invalid) << "sources that are not there";
    EXPECT_EQ(parsed{third(0x80, 2, 0, 0)}.response_ms, 12'800U);
    EXPECT_EQ(parsed{third(0xff, 2, 0, 0)}.response_ms, 3'174'400U);

    EXPECT_EQ(kind_of(ip4(host, group, igmp(0x11, 100, 0))), kind::invalid);
    EXPECT_EQ(kind_of(ip4(host, group + 1, igmp(0x11, 10, group))), kind::invalid);
    EXPECT_EQ(kind_of(ip4(host, host, igmp(0x11, 10, host))), kind::invalid);
    frame odd = igmp(0x11, 10, 0);
    odd.resize(10); // neither version's length
    EXPECT_EQ(kind_of(ip4(host, all_hosts, odd)), kind::invalid);
}

TEST(igmp, reports_and_leaves)
{
    for (const std::uint8_t type : {std::uint8_t{0x12}, std::uint8_t{0x16}}) {
        const parsed m{ip4(host, group, igmp(type, 0, group))};
        EXPECT_EQ(m.is, kind::report);
        EXPECT_EQ(m.group, ip_address::v4(group));
        EXPECT_EQ(kind_of(ip4(host, group + 1, igmp(type, 0, group))), kind::invalid);
        EXPECT_EQ(kind_of(ip4(host, host, igmp(type, 0, host))), kind::invalid);
    }
    EXPECT_EQ(kind_of(ip4(host, 0xe000'0002, igmp(0x17, 0, group))), kind::leave);
    EXPECT_EQ(kind_of(ip4(host, group, igmp(0x17, 0, group))), kind::leave);
    EXPECT_EQ(kind_of(ip4(host, all_hosts, igmp(0x17, 0, group))), kind::invalid);
    EXPECT_EQ(kind_of(ip4(0, group, igmp(0x16, 0, group))), kind::report) << "no address yet";
    EXPECT_EQ(kind_of(ip4(0xe000'0001, group, igmp(0x16, 0, group))), kind::invalid);
}

TEST(igmp, records)
{
    const frame source = four(host);
    const parsed m{ip4(host, 0xe000'0016,
                       records(0x22, {{1, four(group + 1)},
                                      {1, four(group + 2), {source}},
                                      {2, four(group + 3)},
                                      {3, four(group + 4)},
                                      {3, four(group + 5), {source, source}},
                                      {4, four(group + 6), {source}},
                                      {5, four(group + 7), {source}},
                                      {6, four(group + 8), {source}},
                                      {9, four(group + 9)}}))};
    ASSERT_EQ(m.is, kind::records);
    const std::vector<std::pair<wish, std::uint32_t>> expected{
        {wish::nothing, group + 1}, {wish::join, group + 2},    {wish::join, group + 3},
        {wish::leave, group + 4},   {wish::join, group + 5},    {wish::join, group + 6},
        {wish::join, group + 7},    {wish::nothing, group + 8}, {wish::nothing, group + 9}};
    EXPECT_EQ(wishes(m), expected);

    EXPECT_EQ(kind_of(ip4(host, 0xe000'0002, records(0x22, {}))), kind::invalid);
    EXPECT_EQ(kind_of(ip4(host, 0xe000'0016, records(0x22, {{2, four(host)}}))), kind::invalid);
    frame more = records(0x22, {{2, four(group)}});
    put16(more, 6, 2);
    EXPECT_EQ(kind_of(ip4(host, 0xe000'0016, more)), kind::invalid);
    more = records(0x22, {{2, four(group)}});
    more[9] = 1; // auxiliary data that is not there
    EXPECT_EQ(kind_of(ip4(host, 0xe000'0016, more)), kind::invalid);
    more.resize(more.size() + 4);
    EXPECT_EQ(kind_of(ip4(host, 0xe000'0016, more)), kind::records);
}

TEST(igmp, what_is_damaged_is_not_used)
{
    const frame good = ip4(host, group, igmp(0x16, 0, group));
    frame f = good;
    f[26] ^= 1;
    EXPECT_EQ(kind_of(f), kind::invalid) << "IGMP's checksum";
    f = good;
    f[10] ^= 1;
    EXPECT_EQ(kind_of(f), kind::invalid) << "IP's checksum";
    f = good;
    f[8] = 2;
    EXPECT_EQ(kind_of(summed(f)), kind::invalid) << "TTL";
    f = good;
    f[6] = 0x20;
    EXPECT_EQ(kind_of(summed(f)), kind::invalid) << "a fragment";
    f = good;
    f[7] = 1;
    EXPECT_EQ(kind_of(summed(f)), kind::invalid) << "a later fragment";
    f = good;
    f[0] = 0x44;
    EXPECT_EQ(kind_of(f), kind::invalid) << "header too short";
    f = good;
    put16(f, 2, static_cast<unsigned>(f.size() + 1));
    EXPECT_EQ(kind_of(summed(f)), kind::invalid) << "longer than the packet";
    f = good;
    f.resize(60, 0x55);
    EXPECT_EQ(kind_of(f), kind::report) << "padded";
    for (std::size_t size = 0; size < good.size(); ++size) {
        f = good;
        f.resize(size);
        EXPECT_EQ(kind_of(f), size < 20 ? kind::none : kind::invalid) << size;
    }
    EXPECT_EQ(kind_of(ip4(host, group, frame(4))), kind::invalid);
}

TEST(igmp, routers_tell_of_themselves)
{
    EXPECT_EQ(kind_of(ip4(host, 0xe000'006a, igmp(0x30, 0, 0))), kind::router_is_there);
    EXPECT_EQ(kind_of(ip4(host, 0xe000'006a, igmp(0x32, 0, 0))), kind::router_leaves);
    EXPECT_EQ(kind_of(ip4(host, all_hosts, igmp(0x30, 0, 0))), kind::invalid);
    EXPECT_EQ(kind_of(ip4(host, 0xe000'000d, {0x20, 0, 0, 0}, 103)), kind::router_is_there);
    EXPECT_EQ(kind_of(ip4(host, 0xe000'000d, {0x23, 0, 0, 0}, 103)), kind::none) << "a Join";
    EXPECT_EQ(kind_of(ip4(host, 0xe000'000d, {0x20, 0, 0}, 103)), kind::none);
    EXPECT_EQ(kind_of(ip4(host, group, igmp(0x13, 0, 0))), kind::none) << "DVMRP: not known";
    EXPECT_EQ(kind_of(ip4(host, group, igmp(0x16, 0, group), 17)), kind::none);
}

TEST(mld, all_messages)
{
    const frame g = six_group(7);
    const parsed general{ip6(link_local, all_nodes, mld(130, 10'000, unset))};
    EXPECT_EQ(general.is, kind::query);
    EXPECT_TRUE(general.six && general.from_address && !general.specific);
    EXPECT_EQ(general.response_ms, 10'000U);
    frame second = mld(130, 0x8000, g);
    append(second, query_rest(0, 0));
    const parsed specific{ip6(link_local, g, second)};
    EXPECT_TRUE(specific.specific && specific.shortens);
    EXPECT_EQ(specific.response_ms, 32'768U);
    EXPECT_EQ(kind_of(ip6(link_local, g, mld(131, 0, g))), kind::report);
    EXPECT_EQ(kind_of(ip6(unset, g, mld(131, 0, g))), kind::report) << "RFC 3590";
    EXPECT_EQ(kind_of(ip6(link_local, six_group(2, 2), mld(132, 0, g))), kind::leave);
    const parsed both{ip6(unset, mld_routers, records(143, {{4, g}, {3, six_group(8)}}))};
    ASSERT_EQ(both.is, kind::records);
    const std::vector<std::pair<wish, std::uint32_t>> expected{{wish::join, 7U}, {wish::leave, 8U}};
    EXPECT_EQ(wishes(both), expected);
    EXPECT_EQ(kind_of(ip6(link_local, six_group(0x6a, 2), frame{151, 0, 0, 0, 0, 0, 0, 0})),
              kind::router_is_there);
    EXPECT_EQ(kind_of(ip6(link_local, six_group(0x6a, 2), frame{153, 0, 0, 0, 0, 0, 0, 0})),
              kind::router_leaves);
}

TEST(mld, what_breaks_the_protocol_is_not_used)
{
    const frame g = six_group(7);
    const frame good = ip6(link_local, g, mld(131, 0, g));
    const frame global{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    EXPECT_EQ(kind_of(ip6(global, g, mld(131, 0, g))), kind::invalid);
    EXPECT_EQ(kind_of(ip6(unset, all_nodes, mld(130, 1, unset))), kind::invalid);
    EXPECT_EQ(kind_of(ip6(link_local, g, mld(130, 1, unset))), kind::invalid);
    EXPECT_EQ(kind_of(ip6(link_local, six_group(8), mld(131, 0, g))), kind::invalid);
    EXPECT_EQ(kind_of(ip6(link_local, g, mld(132, 0, g))), kind::invalid);
    EXPECT_EQ(kind_of(ip6(link_local, all_nodes, records(143, {{4, g}}))), kind::invalid);
    EXPECT_EQ(kind_of(ip6(link_local, mld_routers, records(143, {{4, global}}))), kind::invalid);
    frame f = good;
    f[7] = 2;
    EXPECT_EQ(kind_of(f), kind::invalid) << "hop limit";
    f = good;
    f[42] = 1; // PadN in place of Router Alert
    EXPECT_EQ(kind_of(f), kind::invalid);
    f = good;
    f[43] = 9; // an option beyond the header's end
    EXPECT_EQ(kind_of(f), kind::invalid);
    f = good;
    f[50] ^= 1;
    EXPECT_EQ(kind_of(f), kind::invalid) << "checksum";
    f = good; // without a hop-by-hop header
    f.erase(f.begin() + 40, f.begin() + 48);
    f[6] = 58;
    put16(f, 4, 24);
    EXPECT_EQ(kind_of(f), kind::invalid);
    for (std::size_t size = 0; size < good.size(); ++size) {
        f = good;
        f.resize(size);
        EXPECT_EQ(kind_of(f), size < 40 ? kind::none : kind::invalid) << size;
    }
    EXPECT_EQ(kind_of(ip6(link_local, g, mld(135, 0, g))), kind::none) << "a solicitation";
}

TEST(groups, that_protocols_have_for_themselves_are_not_kept)
{
    using multicast::is_snooped;
    EXPECT_FALSE(is_snooped(ip_address::v4(0xe000'0001)));
    EXPECT_FALSE(is_snooped(ip_address::v4(0xe000'00ff)));
    EXPECT_TRUE(is_snooped(ip_address::v4(0xe000'0100)));
    EXPECT_FALSE(is_snooped(ip_address::v4(0x0a00'0001)));
    const auto six = [](unsigned scope, std::uint64_t low) {
        return ip_address{0xff00'0000'0000'0000 | std::uint64_t{scope} << 48, low};
    };
    EXPECT_FALSE(is_snooped(six(2, 1)));
    EXPECT_FALSE(is_snooped(six(2, 0xfb)));
    EXPECT_TRUE(is_snooped(six(2, 0x1'ff00'0001)));
    EXPECT_FALSE(is_snooped(six(1, 0x101)));
    EXPECT_FALSE(is_snooped(six(0, 0x101)));
    EXPECT_TRUE(is_snooped(six(5, 1)));
}

} // namespace
} // namespace strait::test
