// SPDX-License-Identifier: BSD-3-Clause
// A worker's part in captures and mirrors: what goes where, once, as it is; and that a packet goes
// on as it was.
#include "tests/unit/dataplane/ip_frame.hh"

#include "dataplane/forward.hh"
#include "dataplane/tapper.hh"

#include <gmock/gmock.h>

#include <map>

namespace strait::test {
namespace {

using dataplane::drop_reason;
using dataplane::no_bridge;
using dataplane::packet;
using dataplane::packet_slot;
using dataplane::port_config;
using dataplane::port_counters;
using dataplane::port_index;
using dataplane::tap;
using dataplane::tap_event;
using dataplane::tap_outlet;
using dataplane::tap_record;
using dataplane::tap_ring;
using dataplane::to_index;
using dataplane::vlan_id;
using dataplane::vlan_policy;
using dataplane::worker_index;

const std::string a = "02:00:00:00:00:0a";
const std::string b = "02:00:00:00:00:0b";
constexpr std::size_t ports = 5;

class tapper : public ::testing::Test, protected dataplane::mirror_sender {
protected:
    static void SetUpTestSuite() { start_eal(); }

    // One bridge with ports 0 to 4.
    tapper()
    {
        auto bridge = std::make_shared<dataplane::bridge_config>();
        for (std::uint16_t i = 0; i < ports; ++i) {
            auto port = std::make_shared<port_config>();
            port->index = port_index{i};
            port->incarnation = 10U + i;
            port->number = static_cast<std::uint16_t>(i + 1);
            ports_.push_back(port);
            config_.ports.push_back(port);
            bridge->members.push_back(port->index);
        }
        bridge_ = bridge;
        config_.bridges.push_back(bridge);
    }
    void reserve(std::size_t port)
    {
        ports_[port]->bridge = no_bridge;
        std::erase(bridge_->members, ports_[port]->index);
    }
    tap& add(bool once, bool ring = false)
    {
        tap t;
        t.outlet = std::make_shared<tap_outlet>(1);
        t.outlet->once = once ? 1U << taps_->all.size() : 0;
        if (ring) {
            t.outlet->rings.push_back(std::make_unique<tap_ring>(65536));
        }
        taps_->all.push_back(std::move(t));
        return taps_->all.back();
    }
    void publish()
    {
        for (const tap& t : taps_->all) {
            taps_->any_dropped = taps_->any_dropped || t.filter.dropped.any();
        }
        config_.taps = taps_;
        tapper_.look_at(config_);
    }
    // These came from `in`.
    std::span<packet_slot> receive(std::size_t in, const std::vector<frame>& frames)
    {
        burst_->clear();
        lent_.clear();
        for (const frame& f : frames) {
            lent_.push_back(std::make_unique<borrowed_packet>(f));
            packet& p = burst_->slots[burst_->count++];
            p = lent_.back()->get();
            p.note = dataplane::packet_note::with_queue(5, 3); // of who was here before
        }
        tapper_.received(*burst_, *ports_[in], pool_.get(), *this);
        return burst_->packets();
    }
    void leave(std::size_t by, packet& p)
    {
        packet* const one[] = {&p};
        tapper_.sent(one, *ports_[by], pool_.get(), *this);
    }

    bool send(std::span<packet* const> packets, const port_config& port,
              port_counters& counters) noexcept override
    {
        for (packet* const p : packets) {
            EXPECT_GT(p->destinations + (p->mbuf == nullptr ? 2 : 0), 1);
            EXPECT_EQ(p->note, 0U);
            if (room_ == 0) {
                counters.drop(full_as_, *p);
                continue;
            }
            --room_;
            if (on_their_way_) {
                continue;
            }
            sent_[to_index(port.index)].push_back(bytes_of(*p));
            counters.tx_packets.add(1);
            counters.tx_bytes.add(p->length);
        }
        return on_their_way_;
    }
    [[nodiscard]] std::uint64_t drops(std::size_t port, drop_reason reason) const
    {
        return counters_[port].drops[static_cast<std::size_t>(reason)].read();
    }
    static std::vector<frame> all_of(tap_ring& ring)
    {
        std::vector<frame> out;
        while (const tap_record* const r = ring.front()) {
            const auto bytes = tap_ring::bytes_of(*r);
            const auto* const first = reinterpret_cast<const std::uint8_t*>(bytes.data());
            out.emplace_back(first, first + bytes.size());
            ring.pop();
        }
        return out;
    }

    using sent_frames = std::map<std::size_t, std::vector<frame>>;
    sent_frames sent_;
    std::size_t room_{1000};
    drop_reason full_as_{drop_reason::receiver_full};
    bool on_their_way_{false}; // what is sent
    pool_ptr pool_{make_pool()};
    std::vector<std::shared_ptr<port_config>> ports_;
    std::shared_ptr<dataplane::bridge_config> bridge_;
    std::shared_ptr<dataplane::tap_set> taps_{std::make_shared<dataplane::tap_set>()};
    dataplane::snapshot config_;
    std::unique_ptr<port_counters[]> counters_{new port_counters[dataplane::max_ports]};
    dataplane::tapper tapper_{worker_index{0}, counters_.get()};
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst};

private:
    std::vector<std::unique_ptr<borrowed_packet>> lent_;
};

TEST_F(tapper, mirrors_what_comes_from_a_port_as_it_came_and_leaves_it_as_it_was)
{
    reserve(4);
    tap& m = add(true);
    m.filter.received.set(0);
    m.output = port_index{4};
    publish();
    const std::vector<frame> frames{make_frame(b, a, 64), with_tag(make_frame(b, a, 900), 0x2005)};
    const auto packets = receive(0, frames);
    EXPECT_EQ(sent_, (sent_frames{{4, frames}}));
    EXPECT_EQ(m.outlet->by_worker[0].packets.read(), 2U);
    EXPECT_EQ(m.outlet->by_worker[0].bytes.read(), 64U + 904U);
    EXPECT_EQ(counters_[4].tx_packets.read(), 2U);
    EXPECT_EQ(bytes_of(packets[1]), frames[1]);
    EXPECT_EQ(packets[1].destinations, 0U);
    (void)receive(1, frames); // of another port
    EXPECT_EQ(sent_[4].size(), 2U);
    config_.taps.reset(); // from now on nothing of them is there to be looked at
    EXPECT_TRUE(tapper_.active());
    tapper_.look_at(config_);
    EXPECT_FALSE(tapper_.active());
}

TEST_F(tapper, mirrors_a_packet_once_however_often_it_is_seen)
{
    reserve(4);
    tap& m = add(true);
    m.filter.received.set(0);
    m.filter.sent.set(1).set(2);
    m.output = port_index{4};
    publish();
    packet& selected = receive(0, {make_frame(b, a, 64)})[0];
    leave(1, selected);
    leave(2, selected);
    EXPECT_EQ(sent_[4].size(), 1U);
    packet& other = receive(3, {make_frame(b, a, 70)})[0];
    EXPECT_EQ(sent_[4].size(), 1U);
    packet changed = other; // a copy of it that flows made
    leave(1, other);
    leave(2, changed);
    EXPECT_EQ(sent_[4].size(), 2U);
    // In the next burst there is another packet in its place.
    leave(2, receive(3, {make_frame(b, a, 70)})[0]);
    EXPECT_EQ(sent_[4].size(), 3U);
}

TEST_F(tapper, mirrors_the_beginning_of_packets_if_that_is_all_that_is_wanted)
{
    reserve(4);
    tap& m = add(true);
    m.filter.received.set(0);
    m.output = port_index{4};
    m.outlet->snaplen = 200;
    publish();
    const frame small = make_frame(b, a, 100);
    const frame large = make_frame(b, a, 1400);
    const auto packets = receive(0, {small, large});
    EXPECT_EQ(sent_, (sent_frames{{4, {small, frame(large.begin(), large.begin() + 200)}}}));
    EXPECT_EQ(bytes_of(packets[1]), large);
    m.outlet->snaplen = 20;
    (void)receive(0, {large});
    EXPECT_EQ(sent_[4].back(), frame(large.begin(), large.begin() + 20));
}

TEST_F(tapper, counts_copies_that_find_no_room_as_the_mirrors_and_not_as_the_ports)
{
    reserve(4);
    tap& m = add(true);
    m.filter.received.set(0);
    m.output = port_index{4};
    publish();
    room_ = 1;
    (void)receive(0, {make_frame(b, a, 64), make_frame(b, a, 65), make_frame(b, a, 66)});
    EXPECT_EQ(m.outlet->by_worker[0].packets.read(), 1U);
    EXPECT_EQ(m.outlet->by_worker[0].drops.read(), 2U);
    EXPECT_EQ(drops(4, drop_reason::mirror_full), 2U);
    EXPECT_EQ(drops(4, drop_reason::receiver_full), 0U);
    ports_[4]->admin_up = false;
    (void)receive(0, {make_frame(b, a, 64)});
    EXPECT_EQ(drops(4, drop_reason::egress_disabled), 1U);
    EXPECT_EQ(m.outlet->by_worker[0].drops.read(), 3U);
}

TEST_F(tapper, counts_copies_that_wait_for_a_rate_as_given)
{
    reserve(4);
    tap& m = add(true);
    m.filter.received.set(0);
    m.output = port_index{4};
    publish();
    room_ = 1;
    on_their_way_ = true;
    full_as_ = drop_reason::shaper_full;
    (void)receive(0, {make_frame(b, a, 64), make_frame(b, a, 65), make_frame(b, a, 66)});
    EXPECT_EQ(m.outlet->by_worker[0].packets.read(), 1U);
    EXPECT_EQ(m.outlet->by_worker[0].bytes.read(), 64U);
    EXPECT_EQ(m.outlet->by_worker[0].drops.read(), 2U);
    EXPECT_EQ(drops(4, drop_reason::mirror_full), 2U);
    EXPECT_EQ(drops(4, drop_reason::shaper_full), 0U);
}

TEST_F(tapper, mirrors_to_a_vlan_in_place_of_the_packets_own)
{
    tap& m = add(true);
    m.filter.received.set(0);
    m.output_vlan = vlan_id{99};
    m.output_bridge = bridge_->index;
    vlan_policy trunk;
    trunk.allowed.set(99);
    vlan_policy other;
    other.allowed.set(5);
    ports_[0]->vlan = other;
    ports_[1]->vlan = trunk;
    ports_[2]->vlan = vlan_policy::access(vlan_id{99});
    ports_[3]->vlan = other;
    ports_[4]->vlan = trunk;
    ports_[4]->admin_up = false;
    publish();
    const frame plain = make_frame(b, a, 300);
    const auto packets =
        receive(0, {with_tag(plain, 0x6005), plain, with_tag(plain, 99), // is there already
                    make_frame("01:80:c2:00:00:0e", a, 64)});
    EXPECT_EQ(sent_, (sent_frames{{1, {with_tag(plain, 0x6063), with_tag(plain, 99)}},
                                  {2, {plain, plain}}}));
    EXPECT_EQ(bytes_of(packets[0]), with_tag(plain, 0x6005));
}

TEST_F(tapper, records_what_is_captured_wherever_it_is_seen)
{
    tap& in = add(false, true);
    in.filter.received.set(0);
    tap& out = add(false, true);
    out.filter.sent.set(1);
    tap& from = add(false, true);
    from.filter.sent_from.set(0);
    publish();
    const frame f = make_frame(b, a, 300);
    packet& p = receive(0, {f})[0];
    leave(1, p);
    leave(2, p);
    leave(1, receive(3, {f})[0]);
    EXPECT_EQ(all_of(*taps_->all[0].outlet->rings[0]), (std::vector<frame>{f}));
    EXPECT_EQ(all_of(*taps_->all[1].outlet->rings[0]), (std::vector<frame>{f, f}));
    const tap_record* const r = taps_->all[2].outlet->rings[0]->front();
    ASSERT_NE(r, nullptr);
    EXPECT_EQ(r->incarnation, 11U);
    EXPECT_EQ(r->event, tap_event::sent);
    EXPECT_EQ(all_of(*taps_->all[2].outlet->rings[0]), (std::vector<frame>{f, f}));
    EXPECT_TRUE(sent_.empty());
}

TEST_F(tapper, records_copies_that_a_mirror_sends_to_a_port_that_is_captured)
{
    reserve(4);
    tap& m = add(true);
    m.filter.received.set(0);
    m.output = port_index{4};
    tap& c = add(false, true);
    c.filter.sent.set(4);
    publish();
    const frame f = make_frame(b, a, 300);
    (void)receive(0, {f});
    EXPECT_EQ(all_of(*taps_->all[1].outlet->rings[0]), (std::vector<frame>{f}));
}

TEST_F(tapper, is_shown_drops_where_they_are_counted_while_somebody_wants_them)
{
    tap& t = add(false, true);
    t.filter.dropped.set(1);
    borrowed_packet p{make_frame(b, a, 100)};
    p.get().in_port = port_index{1};
    counters_[1].drop(drop_reason::same_port, p.get()); // before it
    publish();
    counters_[1].drop(drop_reason::same_port, p.get());
    counters_[2].drop(drop_reason::receiver_full, p.get()); // came from it
    counters_[2].drop(drop_reason::same_port, p.get());     // came from another
    p.get().in_port = port_index{2};
    packet* const two[] = {&p.get(), &p.get()};
    counters_[1].drop(drop_reason::receiver_full, two); // was to leave by it
    counters_[3].drop(drop_reason::receiver_full, p.get());
    tap_ring& ring = *taps_->all[0].outlet->rings[0];
    std::vector<std::pair<std::uint32_t, drop_reason>> seen;
    while (const tap_record* const r = ring.front()) {
        EXPECT_EQ(r->event, tap_event::dropped);
        seen.emplace_back(r->incarnation, r->reason);
        ring.pop();
    }
    using pair = std::pair<std::uint32_t, drop_reason>;
    EXPECT_THAT(seen, ::testing::ElementsAre(pair{11, drop_reason::same_port},
                                             pair{12, drop_reason::receiver_full},
                                             pair{11, drop_reason::receiver_full},
                                             pair{11, drop_reason::receiver_full}));
    EXPECT_EQ(drops(1, drop_reason::receiver_full), 2U);
    config_.taps.reset();
    tapper_.look_at(config_);
    counters_[1].drop(drop_reason::same_port, p.get());
    EXPECT_EQ(ring.front(), nullptr);
    EXPECT_FALSE(tapper_.active());
}

TEST_F(tapper, shows_all_drops_of_the_layer_2_path)
{
    tap& t = add(false, true);
    t.filter.dropped.set(0).set(1);
    publish();
    bridge_->macs = std::make_shared<dataplane::mac_table>(1024);
    dataplane::worker_counters worker;
    dataplane::output_lists lists;
    tap_ring& ring = *taps_->all[0].outlet->rings[0];
    const auto forward = [&](const std::vector<frame>& frames) {
        (void)receive(0, frames);
        dataplane::forward(*burst_, *ports_[0], {&config_, 1, &worker}, counters_[0], lists);
        lists.clear();
        std::vector<drop_reason> out;
        while (const tap_record* const r = ring.front()) {
            out.push_back(r->reason);
            ring.pop();
        }
        return out;
    };
    using ::testing::ElementsAre;
    EXPECT_THAT(forward({frame(10)}), ElementsAre(drop_reason::frame_too_short));
    EXPECT_THAT(forward({make_frame(b, "03:00:00:00:00:01", 64)}),
                ElementsAre(drop_reason::invalid_source_mac));
    EXPECT_THAT(forward({make_frame("01:80:c2:00:00:00", a, 64)}),
                ElementsAre(drop_reason::reserved_multicast));
    EXPECT_THAT(forward({make_frame(b, a, 64), make_frame(a, b, 64)}),
                ElementsAre(drop_reason::same_port));
    ports_[0]->vlan = vlan_policy::access(vlan_id{3});
    EXPECT_THAT(forward({with_tag(make_frame(b, a, 64), 5)}),
                ElementsAre(drop_reason::tagged_not_allowed));
    ports_[0]->vlan = vlan_policy{};
    EXPECT_THAT(forward({make_frame(b, a, 64), with_tag(make_frame(b, a, 64), 5)}),
                ElementsAre(drop_reason::untagged_not_allowed, drop_reason::vlan_not_allowed));
    ports_[0]->admin_up = false;
    EXPECT_THAT(forward({make_frame(b, a, 64), make_frame(b, a, 64)}),
                ElementsAre(drop_reason::ingress_disabled, drop_reason::ingress_disabled));

    borrowed_packet p{make_frame(b, a, 2000)};
    p.get().in_port = port_index{0};
    packet* list[] = {&p.get()};
    EXPECT_EQ(dataplane::admit(list, *ports_[1], counters_[1]).count, 0U);
    ASSERT_NE(ring.front(), nullptr);
    EXPECT_EQ(ring.front()->reason, drop_reason::mtu_exceeded);
    EXPECT_EQ(ring.front()->incarnation, 11U);
}

} // namespace
} // namespace strait::test
