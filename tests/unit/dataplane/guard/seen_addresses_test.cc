// SPDX-License-Identifier: BSD-3-Clause
// Addresses that guests say: which frames say one, in which VLAN, and how many of them are kept.
#include "dataplane/guard/seen_addresses.hh"

#include "dataplane/snapshot.hh"
#include "tests/unit/dataplane/guard/frames.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace strait::guard {
namespace {

using namespace testing_support;
using dataplane::vlan_id;
using dataplane::vlan_policy;
using testing::ElementsAre;
using testing::IsEmpty;

class addresses_behind_a_port : public testing::Test {
protected:
    addresses_behind_a_port() { port_.addresses = std::make_shared<seen_addresses>(); }

    // As a worker looks at what comes from the port.
    void send(const bytes& frame)
    {
        burst_->clear();
        dataplane::packet_slot& p = burst_->slots[0];
        place(p, frame, *burst_);
        if (may_tell_address(p)) {
            note_address(p, port_, 5);
        }
    }
    // Whose they are, by the last bytes of address and MAC: "v4 1 of 1", "v6 2 of 1 in 7".
    [[nodiscard]] std::vector<std::string> seen() const
    {
        constexpr std::uint64_t link_local_prefix = 0xfe80'0000'0000'0000;
        std::vector<std::string> out;
        for (const auto& e : port_.addresses->list(5)) {
            std::string text = e.address.is_v4()                     ? "v4 "
                               : e.address.high == link_local_prefix ? "link "
                                                                     : "v6 ";
            text += std::to_string(e.address.low & 0xff) + " of " +
                    std::to_string(unsigned{e.mac.bytes()[5]});
            if (e.vlan != vlan_id{}) {
                text += " in " + std::to_string(e.vlan.value());
            }
            out.push_back(std::move(text));
        }
        return out;
    }
    static bytes says(unsigned n)
    {
        return ether(everybody, mac(n), 0x0806, arp(1, mac(n), v4(n), v4(99)));
    }

    dataplane::port_config port_;
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst};
};

const bytes solicited{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2};
const bytes solicited_mac{0x33, 0x33, 0xff, 0, 0, 2};

TEST_F(addresses_behind_a_port, are_said_by_arp)
{
    send(says(1));
    send(ether(mac(99), mac(2), 0x0806, arp(2, mac(2), v4(2), v4(99))));
    send(ether(everybody, mac(3), 0x0806, arp(1, mac(3), v4(3), v4(3)))); // unasked, in both ways
    send(ether(everybody, mac(4), 0x0806, arp(2, mac(4), v4(4), v4(4))));
    EXPECT_THAT(seen(), ElementsAre("v4 1 of 1", "v4 2 of 2", "v4 3 of 3", "v4 4 of 4"));
}

TEST_F(addresses_behind_a_port, are_said_by_neighbour_discovery)
{
    send(ether(solicited_mac, mac(1), 0x86dd,
               icmpv6(v6(1), solicited, nd(135, v6(2), link_option(1, mac(1))))));
    send(ether(mac(2), mac(1), 0x86dd, icmpv6(link_local(1), v6(2), nd(135, v6(2)))));
    // Of the target, not of the source.
    send(ether(mac(2), mac(3), 0x86dd,
               icmpv6(link_local(9), v6(2), nd(136, v6(3), link_option(2, mac(3))))));
    send(ether(all_nodes, mac(4), 0x86dd, icmpv6(v6(4), v6(2), nd(136, v6(4)))));
    EXPECT_THAT(seen(), ElementsAre("v6 1 of 1", "v6 3 of 3", "v6 4 of 4", "link 1 of 1"));
}

TEST_F(addresses_behind_a_port, are_not_those_that_somebody_looks_for)
{
    send(ether(everybody, mac(1), 0x0806, arp(1, mac(1), v4(0), v4(1))));
    send(ether(solicited_mac, mac(1), 0x86dd, icmpv6(v6(0), solicited, nd(135, v6(2)))));
    EXPECT_THAT(seen(), IsEmpty());
}

TEST_F(addresses_behind_a_port, are_not_what_cannot_be_so)
{
    const bytes mapped = bytes(10) + bytes{0xff, 0xff} + v4(1);
    send(ether(everybody, mac(1), 0x0806, arp(1, mac(2), v4(1), v4(2)))); // another's MAC
    send(ether(everybody, mac(1), 0x0806, arp(1, mac(1), bytes{224, 0, 0, 1}, v4(2))));
    send(ether(everybody, mac(1), 0x0806, arp(3, mac(1), v4(1), v4(2))));
    send(ether(everybody, mac(1), 0x8035, arp(3, mac(1), v4(1), v4(2)))); // RARP
    send(ether(everybody, {3, 0, 0, 0, 0, 1}, 0x0806,
               arp(1, {3, 0, 0, 0, 0, 1}, v4(1), v4(2)))); // a group's
    send(ether(mac(2), mac(1), 0x86dd,
               icmpv6(v6(1), v6(2), nd(135, v6(2), link_option(1, mac(2))))));
    send(ether(mac(2), mac(1), 0x86dd, icmpv6(mapped, v6(2), nd(135, v6(2)))));
    send(ether(mac(2), mac(1), 0x86dd, icmpv6(v6(1), v6(2), nd(136, solicited))));
    const bytes right = ether(mac(2), mac(1), 0x86dd, icmpv6(v6(1), v6(2), nd(135, v6(2))));
    constexpr std::size_t hop_limit = 14 + 7;
    constexpr std::size_t checksum = 14 + 40 + 2;
    for (const std::size_t wrong : {hop_limit, checksum}) {
        bytes f = right;
        f[wrong] ^= 1;
        send(f);
    }
    for (const bytes& whole : {says(1), right}) {
        for (std::size_t size = 14; size < whole.size(); ++size) {
            bytes f = whole;
            f.resize(size);
            send(f);
        }
    }
    EXPECT_THAT(seen(), IsEmpty());
    send(right);
    EXPECT_THAT(seen(), ElementsAre("v6 1 of 1"));
}

TEST_F(addresses_behind_a_port, are_looked_for_in_few_frames)
{
    const auto may = [this](const bytes& frame) {
        burst_->clear();
        place(burst_->slots[0], frame, *burst_);
        return may_tell_address(burst_->slots[0]);
    };
    EXPECT_TRUE(may(says(1)));
    EXPECT_TRUE(may(tagged(says(1), 7)));
    const bytes solicits = ether(mac(2), mac(1), 0x86dd, icmpv6(v6(1), v6(2), nd(135, v6(2))));
    EXPECT_TRUE(may(solicits));
    EXPECT_TRUE(may(tagged(solicits, 7)));
    for (const bytes& other : {ether(mac(2), mac(1), 0x0800, ipv4(v4(1), v4(2), 6, bytes(20))),
                               ether(mac(2), mac(1), 0x86dd, ipv6(v6(1), v6(2), 6, bytes(20, 135))),
                               ether(mac(2), mac(1), 0x86dd, icmpv6(v6(1), v6(2), nd(128, v6(2)))),
                               ether(mac(2), mac(1), 0x86dd, ipv6(v6(1), v6(2), 58, {})),
                               ether(mac(2), mac(1), 0x0806, bytes(20)), bytes(14)}) {
        EXPECT_FALSE(may(other));
    }
}

TEST_F(addresses_behind_a_port, are_of_their_vlan)
{
    send(says(1));
    send(tagged(says(1), 7));
    send(tagged(says(2), 0)); // a priority alone
    EXPECT_THAT(seen(), ElementsAre("v4 1 of 1", "v4 1 of 1 in 7", "v4 2 of 2"));
    port_.addresses->forget();
    for (const vlan_policy& policy :
         {vlan_policy::access(vlan_id{5}), vlan_policy::customer(vlan_id{5})}) {
        port_.vlan = policy;
        send(says(1));
        send(tagged(says(2), 7));
        EXPECT_THAT(seen(), ElementsAre("v4 1 of 1 in 5")) << "tags are no VLAN's of ours";
    }
}

TEST(addresses_seen, have_the_last_mac_and_the_time_since_then)
{
    seen_addresses all;
    const auto address = address_of(v4(1));
    all.note(address, {}, mac_of(mac(1)), 10);
    all.note(address, {}, mac_of(mac(2)), 14);
    const auto list = all.list(20);
    ASSERT_EQ(list.size(), 1U);
    EXPECT_EQ(list[0].address, address);
    EXPECT_EQ(list[0].mac, mac_of(mac(2)));
    EXPECT_EQ(list[0].age, 6U);
    EXPECT_EQ(all.list(13).at(0).age, 0U) << "a worker's clock was ahead";
    all.forget();
    EXPECT_THAT(all.list(20), IsEmpty());
}

TEST(addresses_seen, that_were_heard_of_least_recently_make_way)
{
    seen_addresses all;
    constexpr auto most = static_cast<unsigned>(seen_addresses::capacity);
    for (unsigned n = 1; n <= most; ++n) {
        all.note(address_of(v4(n)), {}, mac_of(mac(n)), 1);
    }
    all.note(address_of(v4(1)), {}, mac_of(mac(1)), 1); // in the same second
    for (unsigned n = most + 1; n <= most + 3; ++n) {
        all.note(address_of(v4(n)), {}, mac_of(mac(n)), 1);
    }
    std::vector<unsigned> kept;
    for (const auto& e : all.list(1)) {
        kept.push_back(e.address.v4() & 0xff);
    }
    EXPECT_THAT(kept, testing::SizeIs(seen_addresses::capacity));
    EXPECT_TRUE(std::ranges::is_sorted(kept));
    EXPECT_EQ(kept.front(), 1U);
    EXPECT_EQ(kept[1], 5U) << "2 to 4 made way";
    EXPECT_EQ(kept.back(), most + 3);
}

} // namespace
} // namespace strait::guard
