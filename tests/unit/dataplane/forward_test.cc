// SPDX-License-Identifier: BSD-3-Clause
// L2 switching of bursts: learning, VLANs, flooding, reserved multicast, MTU, tags; one burst at a
// time, without workers.
#include "tests/unit/dataplane/ip_frame.hh"

#include "dataplane/forward.hh"
#include "dataplane/guard/seen_addresses.hh"
#include "dataplane/offload.hh"
#include "dataplane/storm.hh"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <utility>

namespace strait::test {
namespace {

using dataplane::drop_reason;
using dataplane::port_config;
using dataplane::port_index;
using dataplane::vlan_id;
using dataplane::vlan_policy;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::string a = "02:00:00:00:00:0a";
const std::string b = "02:00:00:00:00:0b";
const std::string c = "02:00:00:00:00:0c";
const std::string broadcast = "ff:ff:ff:ff:ff:ff";
const std::string bpdu = "01:80:c2:00:00:00";

vlan_policy trunk(const std::vector<std::uint16_t>& allowed, std::uint16_t native = 0)
{
    vlan_policy p;
    p.native = vlan_id{native};
    for (const std::uint16_t vlan : allowed) {
        p.allowed.set(vlan);
    }
    if (native != 0) {
        p.allowed.set(native);
    }
    return p;
}
vlan_policy access(std::uint16_t vlan)
{
    return vlan_policy::access(vlan_id{vlan});
}

class forward : public ::testing::Test {
protected:
    // One bridge with these ports, numbered from 0.
    void configure(const std::vector<vlan_policy>& policies)
    {
        auto bridge = std::make_shared<dataplane::bridge_config>();
        bridge->macs = macs_;
        config_ = {};
        ports_.clear();
        for (std::size_t i = 0; i < policies.size(); ++i) {
            auto port = std::make_shared<port_config>();
            port->index = port_index{static_cast<std::uint16_t>(i)};
            port->incarnation = 1;
            port->vlan = policies[i];
            bridge->members.push_back(port->index);
            ports_.push_back(port);
            config_.ports.push_back(port);
        }
        bridge_ = bridge;
        config_.bridges.push_back(bridge);
    }
    void plain(std::size_t ports) { configure({ports, vlan_policy::transparent()}); }

    using delivered = std::map<std::size_t, std::vector<frame>>;

    // What leaves by which port when these frames come from `in` in one burst.
    delivered send(std::size_t in, const std::vector<frame>& frames)
    {
        intents_.clear();
        burst_->clear();
        packets_.clear();
        for (const frame& f : frames) {
            packets_.push_back(std::make_unique<borrowed_packet>(f));
            dataplane::packet_slot& slot = burst_->slots[burst_->count++];
            static_cast<dataplane::packet&>(slot) = packets_.back()->get();
            if (segment_size_ != 0) {
                EXPECT_EQ(dataplane::infer_offload(slot, true, dataplane::segmentation::tcp_ipv4,
                                                   segment_size_),
                          dataplane::offload_fault::none);
            }
        }
        dataplane::forward(*burst_, *ports_[in], {&config_, now_, &worker_, learns_, {}, tsc_},
                           counters_[in], outputs_);
        delivered out;
        for (const port_index port : outputs_.ports()) {
            const std::size_t i = dataplane::to_index(port);
            const auto packets = outputs_.packets(port);
            const std::size_t kept = dataplane::admit(packets, *ports_[i], counters_[i]).count;
            for (dataplane::packet* const p : packets.first(kept)) {
                out[i].push_back(bytes_of(*p));
                intents_.push_back(p->offload);
            }
        }
        outputs_.clear();
        return out;
    }
    delivered send(std::size_t in, const frame& f) { return send(in, std::vector<frame>{f}); }

    std::uint64_t drops(std::size_t port, drop_reason reason) const
    {
        return counters_[port].drops[static_cast<std::size_t>(reason)].read();
    }
    port_index known(const std::string& mac, std::uint16_t vlan = 0) const
    {
        return macs_->lookup({dataplane::mac_address{mac_value(mac)}, vlan_id{vlan}}, now_);
    }

    std::shared_ptr<dataplane::mac_table> macs_ = std::make_shared<dataplane::mac_table>(1024);
    std::shared_ptr<dataplane::bridge_config> bridge_;
    std::vector<std::shared_ptr<port_config>> ports_;
    dataplane::snapshot config_;
    dataplane::seconds_t now_{0};
    std::uint64_t tsc_{0};
    bool learns_{true};
    dataplane::worker_counters worker_;
    std::array<dataplane::port_counters, 8> counters_{};
    std::uint16_t segment_size_{0}; // what frames are to be cut into
    std::vector<dataplane::offload_intent> intents_;

private:
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst};
    dataplane::output_lists outputs_;
    std::vector<std::unique_ptr<borrowed_packet>> packets_;
};

TEST_F(forward, floods_the_unknown_then_goes_straight)
{
    plain(3);
    const frame there = make_frame(b, a, 100);
    EXPECT_EQ(send(0, there), (delivered{{1, {there}}, {2, {there}}}));
    EXPECT_EQ(known(a), port_index{0});
    const frame back = make_frame(a, b, 100);
    EXPECT_EQ(send(1, back), (delivered{{0, {back}}}));
    EXPECT_EQ(send(0, there), (delivered{{1, {there}}}));
}

TEST_F(forward, floods_broadcast_and_multicast_to_all_others)
{
    plain(4);
    for (const std::string& to :
         {broadcast, std::string{"01:00:5e:00:00:01"}, std::string{"33:33:00:00:00:01"}}) {
        const frame f = make_frame(to, a, 60);
        EXPECT_EQ(send(2, f), (delivered{{0, {f}}, {1, {f}}, {3, {f}}}));
    }
}

TEST_F(forward, isolated_ports_reach_those_alone_that_are_not)
{
    plain(4);
    ports_[0]->isolated = ports_[1]->isolated = true;
    const frame everywhere = make_frame(broadcast, a, 60);
    EXPECT_EQ(send(0, everywhere), (delivered{{2, {everywhere}}, {3, {everywhere}}}));
    const frame from_other = make_frame(broadcast, c, 60);
    EXPECT_EQ(send(2, from_other),
              (delivered{{0, {from_other}}, {1, {from_other}}, {3, {from_other}}}));
    send(1, make_frame(broadcast, b, 60));
    const frame to_isolated = make_frame(b, a, 60);
    const frame to_other = make_frame(c, a, 60);
    EXPECT_EQ(send(0, {to_isolated, to_other, to_isolated}), (delivered{{2, {to_other}}}));
    EXPECT_EQ(drops(0, drop_reason::port_isolated), 2U);
    EXPECT_EQ(drops(0, drop_reason::no_destination), 0U);
    const frame back = make_frame(a, c, 60);
    EXPECT_EQ(send(2, back), (delivered{{0, {back}}}));
}

TEST_F(forward, floods_no_more_of_each_kind_than_its_limit)
{
    constexpr std::uint64_t hz = 1'000'000'000;
    const std::string group = "01:00:5e:00:00:01";
    struct kind {
        std::string to;
        dataplane::storm_limits limits;
        drop_reason reason;
    };
    const std::vector<kind> kinds{
        {broadcast, {.broadcast = 100}, drop_reason::storm_broadcast},
        {group, {.multicast = 100}, drop_reason::storm_multicast},
        {b, {.unknown_unicast = 100}, drop_reason::storm_unknown_unicast},
    };
    plain(3);
    tsc_ = 7 * hz;
    std::uint64_t of_kind = 0;
    for (const kind& limited : kinds) {
        ports_[0]->storm = std::make_shared<dataplane::storm_control>(limited.limits, hz, 1, tsc_);
        for (const kind& k : kinds) {
            const frame f = make_frame(k.to, a, 60);
            const std::size_t passed = &k == &limited ? 10 : 32;
            EXPECT_EQ(send(0, std::vector<frame>(32, f)),
                      (delivered{{1, std::vector<frame>(passed, f)},
                                 {2, std::vector<frame>(passed, f)}}));
        }
        EXPECT_EQ(drops(0, limited.reason), 22U);
        tsc_ += hz / 20 + 1000;
        const frame f = make_frame(limited.to, a, 60);
        of_kind = send(0, std::vector<frame>(32, f))[1].size();
        EXPECT_EQ(of_kind, 5U) << "credit comes back";
        learns_ = false;
        EXPECT_EQ(send(0, f).size(), 2U) << "who only asks has none to take";
        learns_ = true;
    }
    // What goes to one port alone is no flood, and others' frames are not this port's.
    const frame known = make_frame(a, b, 60);
    EXPECT_EQ(send(1, std::vector<frame>(64, known))[0].size(), 64U);
    const frame straight = make_frame(b, a, 60);
    EXPECT_EQ(send(0, std::vector<frame>(64, straight))[1].size(), 64U);
    const frame of_others = make_frame(c, b, 60);
    EXPECT_EQ(send(1, std::vector<frame>(64, of_others))[2].size(), 64U);
}

TEST_F(forward, notes_addresses_where_that_is_wanted)
{
    plain(2);
    const auto addresses = std::make_shared<guard::seen_addresses>();
    ports_[0]->addresses = addresses;
    const auto says = [](unsigned last) {
        frame f = make_frame(broadcast, a, 60, 0, 0x0806);
        put32(f, 14, 0x0001'0800);
        put32(f, 18, 0x0604'0001);
        std::copy_n(f.begin() + 6, 6, f.begin() + 22);
        put32(f, 28, 0x0a00'0000 + last);
        return f;
    };
    const std::vector<frame> frames{says(1), make_frame(broadcast, a, 60), says(2), says(3),
                                    with_tag(says(4), 9)};
    learns_ = false;
    EXPECT_EQ(send(0, frames)[1].size(), frames.size());
    EXPECT_THAT(addresses->list(now_), IsEmpty()) << "it was only asked";
    learns_ = true;
    EXPECT_EQ(send(0, frames), (delivered{{1, frames}})) << "they go on as ever";
    std::vector<std::pair<unsigned, unsigned>> noted; // and VLANs
    for (const auto& e : addresses->list(now_)) {
        EXPECT_EQ(e.mac.value(), mac_value(a));
        noted.emplace_back(e.address.v4() - 0x0a00'0000, e.vlan.value());
    }
    EXPECT_THAT(noted, ElementsAre(std::pair{1U, 0U}, std::pair{2U, 0U}, std::pair{3U, 0U},
                                   std::pair{4U, 9U}));
    addresses->forget();
    EXPECT_EQ(send(1, frames)[0].size(), frames.size());
    EXPECT_THAT(addresses->list(now_), IsEmpty()) << "of the other port nobody wants to know";
    ports_[0]->vlan = access(5);
    EXPECT_TRUE(send(0, with_tag(says(6), 9)).empty());
    EXPECT_THAT(addresses->list(now_), IsEmpty()) << "it is not let in";
}

TEST_F(forward, none_but_isolated_ports_to_flood_to_is_no_destination)
{
    plain(2);
    ports_[0]->isolated = ports_[1]->isolated = true;
    EXPECT_THAT(send(0, make_frame(broadcast, a, 60)), IsEmpty());
    EXPECT_EQ(drops(0, drop_reason::no_destination), 1U);
    ports_[1]->isolated = false;
    EXPECT_EQ(send(0, make_frame(broadcast, a, 60)).size(), 1U);
}

TEST_F(forward, keeps_the_order_of_a_burst_for_each_destination)
{
    plain(3);
    send(1, make_frame(a, b, 60));
    send(2, make_frame(a, c, 60));
    std::vector<frame> frames;
    std::vector<frame> to_b;
    std::vector<frame> to_c;
    for (std::uint8_t i = 0; i < 64; ++i) {
        const bool first = i % 3 == 0;
        frames.push_back(make_frame(first ? b : c, a, 60U + i, i));
        (first ? to_b : to_c).push_back(frames.back());
    }
    EXPECT_EQ(send(0, frames), (delivered{{1, to_b}, {2, to_c}}));
}

TEST_F(forward, a_burst_fares_as_its_frames_one_by_one)
{
    // Few kinds, so that frames repeat: what is found out once for all that look alike must be true
    // of each.
    const frame plain_frame = make_frame(b, a, 60);
    const std::vector<frame> kinds = {
        plain_frame,
        make_frame(b, a, 90, 7),
        make_frame(c, a, 60),
        make_frame(a, b, 60), // from the wrong side: `b` moves, and its frames come back
        make_frame(broadcast, a, 60),
        make_frame(b, broadcast, 60),
        make_frame(bpdu, a, 60),
        make_frame(b, a, 13),
        with_tag(plain_frame, 5),
        with_tag(plain_frame, 6),
        with_tag(plain_frame, 0),
        with_tag(with_tag(plain_frame, 6), 5),
    };
    std::mt19937 random{20};
    for (int round = 0; round < 500; ++round) {
        std::vector<frame> frames;
        while (frames.size() < 64) {
            const frame& f = kinds[random() % kinds.size()];
            frames.insert(frames.end(), std::min(random() % 6, 64 - frames.size()), f);
        }
        const auto run = [&](std::size_t at_once) {
            macs_ = std::make_shared<dataplane::mac_table>(1024);
            configure({trunk({0, 5}), trunk({0, 5}), access(5), trunk({0, 6})});
            send(1, make_frame(broadcast, b, 60));
            std::array<std::uint64_t, dataplane::drop_reason_count> before{};
            for (std::size_t i = 0; i < before.size(); ++i) {
                before[i] = counters_[0].drops[i].read();
            }
            delivered out;
            for (std::size_t i = 0; i < frames.size(); i += at_once) {
                const auto from = frames.begin() + static_cast<std::ptrdiff_t>(i);
                const auto to = from + static_cast<std::ptrdiff_t>(at_once);
                for (const auto& [port, got] : send(0, std::vector<frame>{from, to})) {
                    out[port].insert(out[port].end(), got.begin(), got.end());
                }
            }
            for (std::size_t i = 0; i < before.size(); ++i) {
                before[i] = counters_[0].drops[i].read() - before[i];
            }
            return std::pair{out, before};
        };
        const auto together = run(64);
        ASSERT_EQ(together, run(1)) << "round " << round;
        ASSERT_FALSE(together.first.empty());
    }
}

TEST_F(forward, drops_what_would_go_back_where_it_came_from)
{
    plain(2);
    send(0, make_frame(broadcast, b, 60));
    EXPECT_THAT(send(0, make_frame(b, a, 60)), IsEmpty());
    EXPECT_EQ(drops(0, drop_reason::same_port), 1U);
}

TEST_F(forward, an_address_that_moves_is_followed_within_a_burst)
{
    plain(3);
    send(1, make_frame(broadcast, b, 60));
    EXPECT_EQ(send(0, make_frame(b, a, 60)).count(1), 1U);
    send(2, make_frame(broadcast, b, 60));
    const delivered out = send(0, make_frame(b, a, 60));
    EXPECT_EQ(out.count(2), 1U);
    EXPECT_EQ(out.count(1), 0U);
    // Source and destination change places in one burst: the second frame finds the first's source.
    plain(3);
    const delivered both = send(0, {make_frame(broadcast, c, 60), make_frame(c, a, 60)});
    EXPECT_EQ(both.at(1).size(), 1U) << "the broadcast only";
    EXPECT_EQ(drops(0, drop_reason::same_port), 1U);
}

TEST_F(forward, refuses_short_frames_and_impossible_sources)
{
    plain(2);
    for (const std::size_t length : {0UL, 1UL, 13UL}) {
        EXPECT_THAT(send(0, make_frame(b, a, length)), IsEmpty());
    }
    EXPECT_EQ(drops(0, drop_reason::frame_too_short), 3U);
    EXPECT_EQ(send(0, make_frame(b, a, 14)).size(), 1U);
    EXPECT_THAT(send(0, make_frame(b, "01:00:00:00:00:01", 60)), IsEmpty());
    EXPECT_THAT(send(0, make_frame(b, broadcast, 60)), IsEmpty());
    EXPECT_THAT(send(0, make_frame(b, "00:00:00:00:00:00", 60)), IsEmpty());
    EXPECT_EQ(drops(0, drop_reason::invalid_source_mac), 3U);
    EXPECT_EQ(macs_->size(0), 1U) << "none of them was learned";
    // A tag that is cut off.
    frame cut = with_tag(make_frame(b, a, 14), 5);
    cut.resize(17);
    EXPECT_THAT(send(0, cut), IsEmpty());
    EXPECT_EQ(drops(0, drop_reason::frame_too_short), 4U);
}

TEST_F(forward, reserved_multicast_stays_unless_told_otherwise)
{
    plain(2);
    for (const std::string& to :
         {bpdu, std::string{"01:80:c2:00:00:02"}, std::string{"01:80:c2:00:00:0e"},
          std::string{"01:80:c2:00:00:0f"}}) {
        EXPECT_THAT(send(0, make_frame(to, a, 60)), IsEmpty()) << to;
    }
    EXPECT_EQ(drops(0, drop_reason::reserved_multicast), 4U);
    EXPECT_EQ(send(0, make_frame("01:80:c2:00:00:10", a, 60)).size(), 1U);
    bridge_->forward_bpdu = true;
    EXPECT_EQ(send(0, make_frame(bpdu, a, 60)).size(), 1U);
}

TEST_F(forward, a_port_that_is_down_neither_sends_nor_gets)
{
    plain(3);
    ports_[1]->admin_up = false;
    const frame f = make_frame(broadcast, a, 60);
    EXPECT_EQ(send(0, f), (delivered{{2, {f}}}));
    EXPECT_THAT(send(1, f), IsEmpty());
    EXPECT_EQ(drops(1, drop_reason::ingress_disabled), 1U);
    EXPECT_EQ(known(a), port_index{0});
    // Known there from before it went down.
    ports_[1]->admin_up = true;
    send(1, make_frame(broadcast, b, 60));
    ports_[1]->admin_up = false;
    EXPECT_THAT(send(0, make_frame(b, a, 60)), IsEmpty());
    EXPECT_EQ(drops(1, drop_reason::egress_disabled), 1U);
}

TEST_F(forward, a_port_that_spanning_tree_blocks_neither_sends_nor_gets)
{
    plain(3);
    ports_[1]->tree = dataplane::tree_state::discarding;
    const frame f = make_frame(broadcast, a, 60);
    EXPECT_EQ(send(0, f), (delivered{{2, {f}}}));
    EXPECT_THAT(send(1, make_frame(broadcast, b, 60)), IsEmpty());
    EXPECT_EQ(known(b), dataplane::no_port);
    ports_[1]->tree = dataplane::tree_state::learning;
    EXPECT_THAT(send(1, make_frame(broadcast, b, 60)), IsEmpty());
    EXPECT_EQ(known(b), port_index{1});
    EXPECT_EQ(drops(1, drop_reason::ingress_blocked), 2U);
    EXPECT_THAT(send(0, make_frame(b, a, 60)), IsEmpty());
    EXPECT_EQ(drops(1, drop_reason::egress_blocked), 1U);
    ports_[1]->tree = dataplane::tree_state::forwarding;
    EXPECT_EQ(send(0, make_frame(b, a, 60)).size(), 1U);
}

TEST_F(forward, nobody_to_flood_to_is_a_reason)
{
    plain(1);
    EXPECT_THAT(send(0, make_frame(broadcast, a, 60)), IsEmpty());
    EXPECT_EQ(drops(0, drop_reason::no_destination), 1U);
}

TEST_F(forward, counts_addresses_that_find_no_room)
{
    macs_ = std::make_shared<dataplane::mac_table>(64);
    plain(2);
    for (unsigned i = 0; i < 2000; ++i) {
        std::array<char, 32> mac{};
        std::snprintf(mac.data(), mac.size(), "02:00:00:00:%02x:%02x", i / 256, i % 256);
        const frame f = make_frame(broadcast, mac.data(), 60);
        EXPECT_EQ(send(0, f), (delivered{{1, {f}}})) << "switched all the same";
    }
    EXPECT_EQ(worker_.mac_table_full.read(), 2000 - macs_->size(0));
    EXPECT_GT(worker_.mac_table_full.read(), 0U);
}

TEST_F(forward, drops_what_comes_back_from_an_address_that_is_held)
{
    plain(4); // a is behind port 0, and ports 1 and 2 are a loop
    macs_->set_hold(30);
    const frame flooded = make_frame(broadcast, a, 60);
    for (const std::size_t in : {0U, 1U, 2U, 1U}) {
        EXPECT_EQ(send(in, flooded).size(), 3U);
    }
    const frame other = make_frame(broadcast, b, 60);
    EXPECT_EQ(send(2, {flooded, other, flooded}),
              (delivered{{0, {other}}, {1, {other}}, {3, {other}}}));
    EXPECT_EQ(drops(2, drop_reason::loop_guard), 2U);
    EXPECT_TRUE(send(1, make_frame(b, a, 60)).empty());
    EXPECT_EQ(drops(1, drop_reason::loop_guard), 1U);
    EXPECT_EQ(known(a), port_index{0});
    // Where it is, it sends on: to whom the bridge knows as much as ever, and some floods.
    const frame unicast = make_frame(b, a, 60);
    EXPECT_EQ(send(0, std::vector<frame>(64, unicast)),
              (delivered{{2, std::vector<frame>(64, unicast)}}));
    EXPECT_EQ(send(0, std::vector<frame>(64, flooded))[3].size(),
              dataplane::mac_table::held_floods);
    EXPECT_EQ(drops(0, drop_reason::loop_guard), 64U - dataplane::mac_table::held_floods);
    now_ = 1;
    EXPECT_EQ(send(0, flooded).size(), 3U) << "the next second has its own";
    now_ = 30;
    EXPECT_EQ(send(1, flooded).size(), 3U) << "its time is up";
}

TEST_F(forward, drops_what_comes_from_more_addresses_than_a_port_may_have)
{
    plain(3);
    macs_->set_limit(port_index{0}, 1);
    const frame first = make_frame(broadcast, a, 60);
    const frame second = make_frame(broadcast, c, 60);
    EXPECT_EQ(send(0, {first, second, first, second}),
              (delivered{{1, {first, first}}, {2, {first, first}}}));
    EXPECT_EQ(drops(0, drop_reason::mac_limit), 2U);
    const frame from_known = make_frame(c, a, 60);
    EXPECT_EQ(send(0, from_known), (delivered{{1, {from_known}}, {2, {from_known}}}));
    EXPECT_EQ(send(1, second).size(), 2U) << "other ports have their own limits";
    EXPECT_EQ(send(0, second).size(), 0U);
    EXPECT_EQ(known(c), port_index{1});
    const frame back = make_frame(a, c, 60);
    EXPECT_EQ(send(1, back), (delivered{{0, {back}}}));
}

TEST_F(forward, what_the_table_knows_of_a_port_that_left_is_not_followed)
{
    plain(3);
    send(2, make_frame(broadcast, c, 60));
    config_.ports[2] = nullptr;
    bridge_->members.pop_back();
    EXPECT_THAT(send(0, make_frame(c, a, 60)), IsEmpty());
    EXPECT_EQ(drops(0, drop_reason::no_destination), 1U);
}

TEST_F(forward, bridges_are_isolated)
{
    plain(2);
    auto other = std::make_shared<port_config>();
    other->index = port_index{2};
    other->bridge = dataplane::bridge_index{1};
    other->vlan = vlan_policy::transparent();
    auto second = std::make_shared<dataplane::bridge_config>();
    second->index = dataplane::bridge_index{1};
    second->macs = std::make_shared<dataplane::mac_table>(64);
    second->members.push_back(other->index);
    ports_.push_back(other);
    config_.ports.push_back(other);
    config_.bridges.push_back(second);
    const frame f = make_frame(broadcast, a, 60);
    EXPECT_EQ(send(0, f), (delivered{{1, {f}}}));
    EXPECT_THAT(send(2, make_frame(a, c, 60)), IsEmpty());
    EXPECT_EQ(known(c), dataplane::no_port);
}

TEST_F(forward, transparent_ports_carry_tags_as_they_are)
{
    plain(2);
    for (const frame& f : {with_tag(make_frame(b, a, 100), 0x600a),
                           with_tag(with_tag(make_frame(b, a, 100), 20), 10),
                           with_tag(with_tag(make_frame(b, a, 100), 20), 10, 0x88a8)}) {
        EXPECT_EQ(send(0, f), (delivered{{1, {f}}}));
    }
    EXPECT_EQ(known(a, 10), port_index{0}) << "learned in its VLAN";
}

TEST_F(forward, vlans_learn_apart)
{
    plain(3);
    send(1, with_tag(make_frame(broadcast, b, 60), 10));
    const frame in_ten = with_tag(make_frame(b, a, 60), 10);
    const frame in_twenty = with_tag(make_frame(b, a, 60), 20);
    EXPECT_EQ(send(0, in_ten), (delivered{{1, {in_ten}}}));
    EXPECT_EQ(send(0, in_twenty), (delivered{{1, {in_twenty}}, {2, {in_twenty}}}));
}

TEST_F(forward, access_ports_of_one_vlan_see_each_other_only)
{
    configure({access(10), access(10), access(20)});
    const frame f = make_frame(broadcast, a, 60);
    EXPECT_EQ(send(0, f), (delivered{{1, {f}}}));
    EXPECT_THAT(send(2, f), IsEmpty());
    EXPECT_EQ(drops(2, drop_reason::no_destination), 1U);
    for (const std::uint16_t vid : std::initializer_list<std::uint16_t>{10, 20, 4094}) {
        EXPECT_THAT(send(0, with_tag(f, vid)), IsEmpty());
    }
    EXPECT_EQ(drops(0, drop_reason::tagged_not_allowed), 3U);
}

TEST_F(forward, access_to_trunk_and_back_pushes_and_pops)
{
    configure({access(10), trunk({10, 20})});
    const frame f = make_frame(b, a, 300);
    EXPECT_EQ(send(0, f), (delivered{{1, {with_tag(f, 10)}}}));
    const frame back = make_frame(a, b, 300);
    EXPECT_EQ(send(1, with_tag(back, 10)), (delivered{{0, {back}}}));
    EXPECT_THAT(send(1, with_tag(back, 20)), IsEmpty()) << "nobody else is in VLAN 20";
    EXPECT_THAT(send(1, with_tag(back, 30)), IsEmpty());
    EXPECT_EQ(drops(1, drop_reason::vlan_not_allowed), 1U);
    EXPECT_THAT(send(1, back), IsEmpty());
    EXPECT_EQ(drops(1, drop_reason::untagged_not_allowed), 1U);
}

TEST_F(forward, the_native_vlan_is_untagged)
{
    configure({access(1), trunk({10}, 1)});
    const frame f = make_frame(b, a, 60);
    EXPECT_EQ(send(0, f), (delivered{{1, {f}}}));
    EXPECT_EQ(send(1, make_frame(a, b, 60)), (delivered{{0, {make_frame(a, b, 60)}}}));
    // It may come tagged as well.
    EXPECT_EQ(send(1, with_tag(make_frame(a, b, 60), 1)), (delivered{{0, {make_frame(a, b, 60)}}}));
}

TEST_F(forward, a_flood_gives_each_port_the_tag_it_wants)
{
    configure({access(10), trunk({10}), access(10), trunk({20}, 10), trunk({10, 20})});
    const frame f = make_frame(broadcast, a, 200);
    const frame tagged = with_tag(f, 10);
    EXPECT_EQ(send(0, f), (delivered{{1, {tagged}}, {2, {f}}, {3, {f}}, {4, {tagged}}}));
    EXPECT_EQ(send(1, tagged), (delivered{{0, {f}}, {2, {f}}, {3, {f}}, {4, {tagged}}}));
}

TEST_F(forward, priority_survives_from_trunk_to_trunk_and_through_a_flood)
{
    configure({trunk({10}), access(10), trunk({10})});
    const frame f = make_frame(broadcast, a, 60);
    const frame urgent = with_tag(f, 0xe00a);
    EXPECT_EQ(send(0, urgent), (delivered{{1, {f}}, {2, {urgent}}}));
}

TEST_F(forward, priority_tags_belong_to_the_native_vlan)
{
    configure({access(10), access(10), trunk({10})});
    const frame f = make_frame(broadcast, a, 60);
    EXPECT_EQ(send(0, with_tag(f, 0xa000)), (delivered{{1, {f}}, {2, {with_tag(f, 0xa00a)}}}));
    plain(2);
    EXPECT_EQ(send(0, with_tag(f, 0xa000)), (delivered{{1, {f}}}));
}

// A guest must not choose the VLAN that a frame is in after its outer tag was taken off.
TEST_F(forward, an_inner_tag_never_becomes_the_vlan)
{
    const frame f = make_frame(broadcast, a, 60);
    // On an access port, behind a priority tag.
    configure({access(5), trunk({20}, 5), access(5)});
    const frame hidden = with_tag(with_tag(f, 20), 0);
    EXPECT_THAT(send(0, hidden), IsEmpty());
    EXPECT_EQ(drops(0, drop_reason::tagged_not_allowed), 1U);
    // On a trunk, behind the native VLAN's tag, towards a trunk with the same native VLAN.
    configure({trunk({}, 5), trunk({20}, 5), trunk({5})});
    const frame nested = with_tag(with_tag(f, 20), 5);
    EXPECT_EQ(send(0, nested), (delivered{{2, {nested}}})) << "with its own tag it may pass";
    EXPECT_EQ(drops(1, drop_reason::nested_tag), 1U);
    // Behind a priority tag, a trunk's tag counts as if it stood first.
    configure({trunk({10}), trunk({10, 20})});
    EXPECT_EQ(send(0, with_tag(with_tag(f, 10), 0)), (delivered{{1, {with_tag(f, 10)}}}));
    EXPECT_THAT(send(0, hidden), IsEmpty());
    EXPECT_EQ(drops(0, drop_reason::vlan_not_allowed), 1U);
    // And no number of priority tags hides one.
    EXPECT_THAT(send(0, with_tag(hidden, 0)), IsEmpty());
    plain(2);
    EXPECT_EQ(send(0, hidden), (delivered{{1, {with_tag(f, 20)}}}));
    EXPECT_EQ(known(a, 20), port_index{0});
}

TEST_F(forward, service_tags_are_payload)
{
    configure({access(10), trunk({10})});
    const frame f = with_tag(make_frame(broadcast, a, 60), 7, 0x88a8);
    EXPECT_EQ(send(0, f), (delivered{{1, {with_tag(f, 10)}}}));
}

// What a customer's port sends leaves it again as it was, whatever tags are in it.
TEST_F(forward, a_customers_tags_are_payload_in_a_service_vlan)
{
    const auto customer = [](std::uint16_t vlan) { return vlan_policy::customer(vlan_id{vlan}); };
    vlan_policy service = trunk({100, 200});
    service.tell_by_service_tags();
    configure({customer(100), customer(100), customer(200), service, trunk({100}), access(100)});
    const frame f = make_frame(broadcast, a, 60);
    const frame twice = with_tag(with_tag(f, 20), 10);
    for (const frame& sent :
         {f, with_tag(f, 10), with_tag(f, 0x6000), twice, with_tag(f, 7, 0x88a8)}) {
        delivered wanted{
            {1, {sent}}, {3, {with_tag(sent, 100, 0x88a8)}}, {4, {with_tag(sent, 100)}}};
        // Where nothing says that the customer's tag is payload, it would choose a VLAN.
        const bool hidden = sent != f && sent[12] == 0x81;
        if (!hidden) {
            wanted.emplace(5, delivered::mapped_type{sent});
        }
        EXPECT_EQ(send(0, sent), wanted);
    }
    EXPECT_EQ(drops(5, drop_reason::nested_tag), 3U);
    EXPECT_EQ(known(a, 100), port_index{0});
    // And back, by each kind of tag, with its priority.
    const frame answer = with_tag(make_frame(a, b, 60), 10);
    EXPECT_EQ(send(3, with_tag(answer, 100, 0x88a8)), (delivered{{0, {answer}}}));
    EXPECT_EQ(send(4, with_tag(answer, 0xa064)), (delivered{{0, {answer}}}));
    const frame flood = make_frame(broadcast, b, 60);
    EXPECT_EQ(
        send(3, with_tag(flood, 0xa064, 0x88a8)),
        (delivered{{0, {flood}}, {1, {flood}}, {4, {with_tag(flood, 0xa064)}}, {5, {flood}}}));
    EXPECT_EQ(
        send(4, with_tag(flood, 0xa064)),
        (delivered{
            {0, {flood}}, {1, {flood}}, {3, {with_tag(flood, 0xa064, 0x88a8)}}, {5, {flood}}}));
    // A service trunk is not told by a customer's tag, and another customer hears nothing.
    EXPECT_THAT(send(3, with_tag(flood, 200)), IsEmpty());
    EXPECT_EQ(drops(3, drop_reason::untagged_not_allowed), 1U);
    EXPECT_EQ(send(2, flood), (delivered{{3, {with_tag(flood, 200, 0x88a8)}}}));
    frame cut = with_tag(f, 10);
    cut.resize(16);
    EXPECT_THAT(send(0, cut), IsEmpty());
    EXPECT_EQ(drops(0, drop_reason::frame_too_short), 1U);
}

TEST_F(forward, the_mtu_is_counted_without_tags)
{
    configure({access(10), trunk({10}), access(10)});
    ports_[1]->mtu = 1500;
    ports_[2]->mtu = 1400;
    const frame full = make_frame(broadcast, a, 1514);
    EXPECT_EQ(send(0, full), (delivered{{1, {with_tag(full, 10)}}}));
    EXPECT_EQ(drops(2, drop_reason::mtu_exceeded), 1U);
    EXPECT_THAT(send(0, make_frame(broadcast, a, 1515)), IsEmpty());
    EXPECT_EQ(drops(1, drop_reason::mtu_exceeded), 1U);
    plain(2);
    ports_[1]->mtu = 1500;
    const frame two_tags = with_tag(with_tag(make_frame(b, a, 1514), 20), 10);
    EXPECT_EQ(send(0, two_tags).size(), 1U);
    ports_[1]->mtu = 9000;
    EXPECT_EQ(send(0, make_frame(b, a, 9014)).size(), 1U);
    EXPECT_THAT(send(0, make_frame(b, a, 9015)), IsEmpty());
}

TEST_F(forward, the_mtu_of_what_is_to_be_cut_is_that_of_its_segments)
{
    configure({access(10), trunk({10})});
    ports_[1]->mtu = 1500;
    const ip_frame shape{.tcp_options = 12, .payload = 20'000};
    segment_size_ = 1448;
    EXPECT_EQ(send(0, shape.build(true)).size(), 1U);
    segment_size_ = 1449;
    EXPECT_THAT(send(0, shape.build(true)), IsEmpty());
    EXPECT_EQ(drops(1, drop_reason::mtu_exceeded), 1U);
}

TEST_F(forward, an_intent_follows_every_tag_that_goes_in_or_out)
{
    const ip_frame shape{.payload = 2000};
    const ip_frame tagged{.tags = {0x8100}, .payload = 2000};
    const auto at = [&](const ip_frame& f) {
        EXPECT_EQ(intents_.size(), 1U);
        return intents_.size() == 1 && intents_[0].network_start == f.network() &&
               intents_[0].checksum_start == f.transport() &&
               intents_[0].header_length == f.header_length();
    };
    segment_size_ = 500;
    configure({access(10), trunk({10})});
    EXPECT_EQ(send(0, shape.build(true)).size(), 1U);
    EXPECT_TRUE(at(tagged));
    configure({trunk({5}), access(5)}); // ip_frame's tag is of VLAN 5
    EXPECT_EQ(send(0, tagged.build(true)).size(), 1U);
    EXPECT_TRUE(at(shape));
    plain(2);
    frame priority = tagged.build(true);
    put16(priority, 14, 0x6000);
    EXPECT_EQ(send(0, priority).size(), 1U);
    EXPECT_TRUE(at(shape));
}

TEST_F(forward, static_addresses_hold)
{
    plain(3);
    macs_->add_static({dataplane::mac_address{mac_value(b)}, vlan_id{}}, port_index{1}, 0);
    send(2, make_frame(broadcast, b, 60));
    EXPECT_EQ(send(0, make_frame(b, a, 60)).count(1), 1U);
    EXPECT_EQ(known(b), port_index{1});
}

TEST_F(forward, addresses_age)
{
    plain(3);
    macs_->set_ageing(10);
    send(1, make_frame(broadcast, b, 60));
    now_ = 10;
    EXPECT_EQ(send(0, make_frame(b, a, 60)).size(), 1U);
    now_ = 11;
    EXPECT_EQ(send(0, make_frame(b, a, 60)).size(), 2U) << "flooded again";
}

// What is found out for one address of a port is not believed of another of the same port that is
// older.
TEST_F(forward, addresses_of_a_port_age_each_by_itself_in_a_burst)
{
    plain(3);
    macs_->set_ageing(10);
    const std::string fixed = "02:00:00:00:00:0d";
    macs_->add_static({dataplane::mac_address{mac_value(fixed)}, vlan_id{}}, port_index{1}, 0);
    send(1, make_frame(broadcast, b, 60));
    now_ = 15;
    send(1, make_frame(broadcast, c, 60));
    now_ = 20;
    const frame aged = make_frame(b, a, 60);
    const frame recent = make_frame(c, a, 60);
    const frame held = make_frame(fixed, a, 60);
    const frame unknown = make_frame("02:00:00:00:00:0e", a, 60);
    std::vector<frame> frames = {aged, recent, held, unknown};
    std::sort(frames.begin(), frames.end());
    do {
        delivered expected{{1, frames}, {2, {}}};
        std::copy_if(frames.begin(), frames.end(), std::back_inserter(expected[2]),
                     [&](const frame& f) { return f == aged || f == unknown; });
        EXPECT_EQ(send(0, frames), expected);
    } while (std::next_permutation(frames.begin(), frames.end()));
}

} // namespace
} // namespace strait::test
