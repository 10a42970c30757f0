// SPDX-License-Identifier: BSD-3-Clause
// The short way of known connections against the long way: two bridges with the same flows get the
// same bursts at the same times, and one of them has a tracker that nobody may go the short way
// with. All that can be seen of them must be the same.
#include "dataplane/flow/forward.hh"

#include "tests/soak.hh"
#include "tests/unit/dataplane/conntrack/packets.hh"
#include "tests/unit/dataplane/flow/flows_of_a_bridge.hh"
#include "tests/unit/sanitizers.hh"

#include "dataplane/conntrack/tracker.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <rte_cycles.h>

namespace strait::flow {
namespace {

namespace tcp = conntrack::tcp;
using test::end;

class counted_tracking final : public conntrack::tracking {
public:
    counted_tracking(conntrack::tracker& t, bool is_short) : tracker_{t}, short_{is_short} {}
    void track(std::span<conntrack::request> asked, dataplane::seconds_t now) noexcept override
    {
        went_the_long_way += asked.size();
        tracker_.track(asked, now);
    }
    conntrack::tracker* short_way() noexcept override { return short_ ? &tracker_ : nullptr; }
    std::size_t went_the_long_way{0};

private:
    conntrack::tracker& tracker_;
    bool short_;
};

// A bridge whose connections are tracked.
class side final : public flows_of_a_bridge {
public:
    explicit side(bool is_short) : tracking_{tracker_, is_short}
    {
        switcher_.set_tracking(tracking_);
    }
    void TestBody() override {}

    using flows_of_a_bridge::publish;
    sent send_at(std::size_t port, const std::vector<frame_bytes>& frames, conntrack::seconds_t now)
    {
        sent_.clear();
        queues_.clear();
        taken_.clear();
        burst_->clear();
        for (const frame_bytes& f : frames) {
            flow::put(burst_->slots[burst_->count++], f, *burst_);
        }
        at_once lists{*this};
        switcher_.forward(*burst_, {*current_,
                                    *config_.ports[port],
                                    {&config_, now, &worker_, true},
                                    counters_,
                                    lists_,
                                    lists,
                                    nullptr});
        deliver();
        tracker_.maintain(now);
        return sent_;
    }
    void flush(conntrack::seconds_t now)
    {
        conntrack::job j{conntrack::job::kind::forget, {}};
        ASSERT_TRUE(tracker_.submit(j));
        while (!j.done()) {
            tracker_.maintain(now);
        }
    }
    // All that is known of connections, and counted.
    std::string seen(conntrack::seconds_t now)
    {
        std::vector<conntrack::connection_record> room(256);
        conntrack::job j{conntrack::job::kind::show, {}, room};
        EXPECT_TRUE(tracker_.submit(j));
        while (!j.done()) {
            tracker_.maintain(now);
        }
        while (!switcher_.entries().settled()) {
            switcher_.entries().bring_home(rte_rdtsc(), true);
        }
        std::vector<std::string> lines;
        for (std::size_t i = 0; i < j.count(); ++i) {
            const auto& c = room[i];
            std::ostringstream out;
            out << c.original.source_port << '>' << c.original.destination_port << " zone "
                << c.original.zone << " mark " << c.mark << " state " << int(c.tcp) << " notes "
                << int(c.notes) << " left " << c.seconds_left << '\n';
            lines.push_back(out.str());
        }
        std::ranges::sort(lines);
        std::ostringstream out;
        for (const std::string& l : lines) {
            out << l;
        }
        const auto& t = tracker_.counters;
        out << t.created.read() << ' ' << t.ended.read() << ' ' << t.found.read() << ' '
            << t.fresh.read() << ' ' << t.invalid.read() << ' ' << t.translated.read() << '\n';
        for (const compiled& c : compiled_) {
            out << c.made->packets() << '/' << c.made->bytes() << ' ';
        }
        for (std::size_t i = 0; i < counters_.drops.size(); ++i) {
            if (counters_.drops[i].read() > 0) {
                out << "\ndrop " << i << ' ' << counters_.drops[i].read();
            }
        }
        return out.str();
    }
    [[nodiscard]] std::size_t went_the_long_way() const { return tracking_.went_the_long_way; }

private:
    static conntrack::store_settings settings()
    {
        conntrack::store_settings s;
        s.connections = 4096;
        return s;
    }
    conntrack::store store_{settings()};
    conntrack::tracker tracker_{store_};
    counted_tracking tracking_;
};

plain_rule rule_of(table_id table, priority_t priority, action_list actions)
{
    plain_rule r{table, priority, {}, std::move(actions)};
    return r;
}

constexpr std::size_t connection_count = 24;

class random_traffic {
public:
    explicit random_traffic(std::uint64_t seed) : random_{seed}
    {
        for (std::size_t i = 0; i < connection_count; ++i) {
            talks_.push_back({.client = {0x0a00'0001 + std::uint32_t(i % 3),
                                         static_cast<std::uint16_t>(1000 + i)},
                              .server = {0x0a00'0101, static_cast<std::uint16_t>(80 + i % 2)},
                              .udp = i % 3 == 0,
                              .ipv6 = i % 8 == 7,
                              .sent = {1000, 5000}});
        }
    }
    std::uint64_t upto(std::uint64_t n)
    {
        return std::uniform_int_distribution<std::uint64_t>{0, n}(random_);
    }
    bool one_in(std::uint64_t n) { return upto(n - 1) == 0; }

    // Mostly what conversations say, from the client's side (port 1) or the server's.
    frame_bytes frame(bool from_server)
    {
        talk& t = talks_[upto(talks_.size() - 1)];
        const end from = from_server ? t.server : t.client;
        const end to = from_server ? t.client : t.server;
        test::frame f = t.udp ? test::udp_frame(from, to, std::string(1 + upto(30), 'x'), t.ipv6)
                              : segment(t, from_server, from, to).build();
        if (one_in(40) && !t.ipv6) {
            damage(f);
        }
        frame_bytes out(f.size());
        std::memcpy(out.data(), f.data(), f.size());
        // What does not tell the connection.
        if (!t.ipv6 && out.size() > 22 && one_in(6)) {
            out[22] = std::byte{63};
        }
        if (one_in(6)) {
            out[5] = std::byte{9};
        }
        if (out.size() < 60 && one_in(2)) {
            out.resize(60);
        }
        return out;
    }

    std::vector<plain_rule> rules()
    {
        std::vector<plain_rule> all;
        const std::uint16_t zone = static_cast<std::uint16_t>(upto(1));
        ct ask;
        ask.table = 1;
        ask.zone = zone;
        if (one_in(3)) {
            ask.translation = nat{};
        }
        action_list first{{ask}};
        if (one_in(6)) {
            first.insert(first.begin(), {set_field{field::reg0, 7, wide::ones(32)}});
        }
        plain_rule r = rule_of(0, 5, first);
        if (one_in(2)) {
            r.match.require(field::eth_type, 0x0800);
        }
        all.push_back(r);
        if (one_in(3)) { // of one connection some packets come by another way
            if (one_in(2)) {
                first.insert(first.begin(), {set_field{field::reg0, 7, wide::ones(32)}});
            } else {
                ask.table = 2;
                first = {{ask}};
                plain_rule elsewhere = rule_of(2, 1, {{output{5}}});
                elsewhere.match.require(field::ct_state, conntrack::state::established,
                                        conntrack::state::established);
                all.push_back(elsewhere);
            }
            plain_rule low = rule_of(0, 6, first);
            low.match.require(field::eth_type, 0x0800);
            low.match.require(field::nw_ttl, 63);
            all.push_back(low);
        }
        // Behind it.
        ct commit;
        commit.commit = true;
        commit.zone = zone;
        if (one_in(2)) {
            commit.exec.push_back({set_field{field::ct_mark, upto(2), wide::ones(32)}});
        }
        if (ask.translation && one_in(2)) {
            commit.translation = nat{.which = nat::side::source,
                                     .first = wide{0x0a00'0063},
                                     .last = wide{0x0a00'0063},
                                     .hash = true}; // nothing is random
        }
        plain_rule fresh = rule_of(1, 5, {{commit}, {output{2}}});
        fresh.match.require(field::ct_state, conntrack::state::fresh, conntrack::state::fresh);
        all.push_back(fresh);
        const std::array<action_list, 4> ends{action_list{{output{2}}}, action_list{{output{3}}},
                                              action_list{}, action_list{{output{ports::normal}}}};
        plain_rule known = rule_of(1, 6, ends[upto(3)]);
        known.match.require(field::ct_state, conntrack::state::established,
                            conntrack::state::established);
        all.push_back(known);
        plain_rule invalid = rule_of(1, 9, one_in(2) ? action_list{} : action_list{{output{4}}});
        invalid.match.require(field::ct_state, conntrack::state::invalid,
                              conntrack::state::invalid);
        all.push_back(invalid);
        for (std::uint64_t more = upto(4); more > 0; --more) {
            all.push_back(other(static_cast<priority_t>(10 + more), ends[upto(3)]));
        }
        return all;
    }

private:
    struct talk {
        end client;
        end server;
        bool udp;
        bool ipv6;
        std::array<std::uint32_t, 2> sent; // by the client, by the server
        std::array<bool, 2> begun{};
    };

    test::tcp_packet segment(talk& t, bool from_server, end from, end to)
    {
        const std::size_t me = from_server ? 1 : 0;
        test::tcp_packet p{.from = from, .to = to, .ipv6 = t.ipv6};
        p.sequence = t.sent[me];
        p.acknowledged = t.sent[1 - me];
        p.window = 5000;
        p.flags = tcp::ack;
        if (!t.begun[me]) {
            p.flags = from_server ? tcp::syn | tcp::ack : tcp::syn;
            t.begun[me] = true;
            ++t.sent[me];
            return p;
        }
        switch (upto(200)) {
        case 0:
            p.flags = tcp::fin | tcp::ack;
            break;
        case 1:
            p.flags = tcp::rst;
            break;
        case 2: // anew
            t.begun = {};
            t.sent[0] += 100'000;
            p.flags = tcp::syn;
            p.sequence = t.sent[0]++;
            t.begun[0] = true;
            break;
        case 3:
            p.sequence += 0x3000'0000; // far out
            break;
        case 4:
            p.options = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};
            break;
        default:
            p.data = std::string(upto(20), 'd');
            t.sent[me] += static_cast<std::uint32_t>(p.data.size());
            break;
        }
        return p;
    }
    void damage(test::frame& f)
    {
        const auto set = [&f](std::size_t at, unsigned value) {
            f[at] = static_cast<test::frame::value_type>(value);
        };
        switch (upto(6)) {
        case 0: // a fragment
            set(20, 0x20);
            break;
        case 1:
            set(14, 0x46); // options, of which there are none
            break;
        case 2:
            set(17, 0xff); // longer than the frame
            break;
        case 3:
            set(17, 20); // IP's header alone
            break;
        case 4:
            f.resize(36); // cut short
            break;
        case 5:
            set(46, one_in(2) ? 0xf0 : 0x10); // TCP's header is longer than its packet, or none
            break;
        default:
            set(23, 99); // another protocol
            break;
        }
    }
    plain_rule other(priority_t priority, const action_list& actions)
    {
        plain_rule r = rule_of(1, priority, actions);
        switch (upto(9)) {
        case 0:
            r.match.require(field::ct_mark, upto(2));
            break;
        case 1:
            r.match.require(field::eth_type, 0x0800);
            r.match.require(field::nw_src, 0x0a00'0000 + upto(3));
            break;
        case 2:
            r.match.require(field::eth_type, 0x0800);
            r.match.require(field::nw_proto, 6);
            r.match.require(field::tp_dst, 80 + upto(1));
            break;
        case 3:
            r.match.require(field::ct_zone, upto(1));
            break;
        case 4: // what makes it another pass than one that its connection tells
            r.match.require(field::eth_dst, 0x0200'0000'0009);
            break;
        case 5:
            r.match.require(field::eth_type, 0x0800);
            r.match.require(field::nw_ttl, 63);
            break;
        case 6:
            r.match.require(field::eth_type, 0x0800);
            r.match.require(field::nw_proto, 6);
            r.match.require(field::tcp_flags, tcp::fin, tcp::fin);
            break;
        case 7:
            r.match.require(field::in_port, one_in(2) ? 5 : 1 + upto(1));
            break;
        case 8:
            r.match.require(field::reg0, 7);
            break;
        default:
            r.match.require(field::ct_label, 0);
            break;
        }
        return r;
    }

    std::mt19937_64 random_;
    std::vector<talk> talks_;
};

// By port, which frames of a burst were sent, by their number; of those that were changed, -1.
std::string numbers_in(const sent& all, const std::vector<frame_bytes>& frames)
{
    std::string out;
    for (const auto& [port, list] : all) {
        out += " port " + std::to_string(port) + ":";
        for (const frame_bytes& f : list) {
            const auto found = std::ranges::find(frames, f);
            out += " " + std::to_string(found == frames.end() ? -1 : found - frames.begin());
        }
    }
    return out;
}

// Packets of different connections may overtake each other, but not those of one.
sent by_connection(sent all)
{
    const auto key = [](const frame_bytes& f) {
        const bool ipv6 = f.size() > 58 && f[12] == std::byte{0x86};
        const std::size_t first = ipv6 ? 22 : 26;
        const std::size_t last = std::min<std::size_t>(f.size(), ipv6 ? 58 : 38);
        return first < last ? frame_bytes(f.begin() + static_cast<std::ptrdiff_t>(first),
                                          f.begin() + static_cast<std::ptrdiff_t>(last))
                            : frame_bytes{};
    };
    for (auto& [port, frames] : all) {
        std::ranges::stable_sort(frames, {}, key);
    }
    return all;
}

class short_way : public ::testing::TestWithParam<int> {};

TEST_P(short_way, is_as_the_long_one)
{
    random_traffic random{static_cast<std::uint64_t>(GetParam())};
    side shorter{true};
    side longer{false};
    conntrack::seconds_t now = 100;
    std::vector<plain_rule> rules = random.rules();
    shorter.publish(rules);
    longer.publish(rules);
    for (int turn = 0; turn < 300; ++turn) {
        const bool from_server = random.one_in(2);
        std::vector<frame_bytes> frames;
        const std::uint64_t most = random.one_in(3) ? burst::capacity : 6;
        for (std::uint64_t n = 1 + random.upto(most - 1); n > 0; --n) {
            frames.push_back(random.frame(from_server));
        }
        const std::size_t port = from_server ? 2 : random.one_in(5) ? 5 : 1;
        const sent got = by_connection(shorter.send_at(port, frames, now));
        const sent expected = by_connection(longer.send_at(port, frames, now));
        ASSERT_EQ(got == expected, true) << "in turn " << turn << ": got" << numbers_in(got, frames)
                                         << ", expected" << numbers_in(expected, frames);
        ASSERT_EQ(shorter.seen(now), longer.seen(now)) << "in turn " << turn;
        now += random.one_in(20) ? static_cast<conntrack::seconds_t>(random.upto(130))
                                 : static_cast<conntrack::seconds_t>(random.upto(1));
        if (random.one_in(40)) {
            shorter.flush(now);
            longer.flush(now);
        }
        if (random.one_in(25)) {
            rules = random.rules();
            shorter.publish(rules);
            longer.publish(rules);
        }
    }
    EXPECT_LE(shorter.went_the_long_way(), longer.went_the_long_way());
    RecordProperty("short",
                   std::to_string(longer.went_the_long_way() - shorter.went_the_long_way()));
    RecordProperty("all", std::to_string(longer.went_the_long_way()));
}

INSTANTIATE_TEST_SUITE_P(seeds, short_way,
                         ::testing::Range(0, test::fewer_if(test::address_sanitizer,
                                                            test::short_or_soak(15, 60), 8)));

// What lies behind the head is nobody's to read here.
TEST(short_way_of_known_connections, is_not_for_headers_that_go_beyond_the_head)
{
    const test::frame f = test::tcp_packet{.from = {0x0a00'0001, 1000},
                                           .to = {0x0a00'0002, 80},
                                           .flags = tcp::ack,
                                           .options = std::vector<std::uint8_t>(40, 1)}
                              .build();
    frame_bytes bytes(f.size());
    std::memcpy(bytes.data(), f.data(), f.size());
    const auto b = std::make_unique<burst>();
    packet_slot& p = b->slots[0];
    flow::put(p, bytes, *b);
    conntrack::plain_packet read;
    EXPECT_TRUE(conntrack::read_plain(p, 0, read));
    --p.head_length;
    EXPECT_FALSE(conntrack::read_plain(p, 0, read));
    p.head_length = 14 + 20 + 19;
    EXPECT_FALSE(conntrack::read_plain(p, 0, read));
}

// All that is IPv4 is tracked, what is new begins a connection.
std::vector<plain_rule> tracked(const action_list& established)
{
    ct ask;
    ask.table = 1;
    ct commit;
    commit.commit = true;
    plain_rule known = rule_of(1, 6, established);
    known.match.require(field::ct_state, conntrack::state::established,
                        conntrack::state::established);
    plain_rule first = rule_of(0, 5, {{ask}});
    first.match.require(field::eth_type, 0x0800);
    return {first, known, rule_of(1, 1, {{commit}, {output{3}}})};
}

frame_bytes padded(const test::frame& f)
{
    frame_bytes out(std::max<std::size_t>(f.size(), 60));
    std::memcpy(out.data(), f.data(), f.size());
    return out;
}

// Most of what one sends whose connections are known.
TEST(short_way_of_known_connections, is_what_they_go)
{
    side one{true};
    one.publish(tracked({{output{2}}}));
    std::vector<frame_bytes> there;
    std::vector<frame_bytes> back;
    for (std::uint16_t i = 0; i < 8; ++i) {
        const end client{0x0a00'0001, static_cast<std::uint16_t>(1000 + i)};
        const end server{0x0a00'0002, 53};
        there.push_back(padded(test::udp_frame(client, server)));
        back.push_back(padded(test::udp_frame(server, client)));
    }
    for (int i = 0; i < 3; ++i) {
        (void)one.send_at(1, there, 100);
        (void)one.send_at(2, back, 100);
    }
    const std::size_t before = one.went_the_long_way();
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(one.send_at(1, there, 101)[2].size(), there.size());
        (void)one.send_at(2, back, 101);
    }
    EXPECT_EQ(one.went_the_long_way(), before);
}

// Two connections' packets led to one entry. A rule comes that asks for more, and has one of them
// alone: the other's packets, which have none of those bits, find that the entry holds.
TEST(short_way_of_known_connections, ends_where_rules_ask_for_more)
{
    side one{true};
    std::vector<plain_rule> rules = tracked({{output{2}}});
    const auto add = [&](std::uint32_t address, unsigned length, std::uint16_t port) {
        plain_rule r = rule_of(1, 9, {{output{port}}});
        r.match.require(field::eth_type, 0x0800);
        r.match.require(field::nw_dst, address, 0xffffffff & ~(0xffffffffULL >> length));
        rules.push_back(r);
        one.publish(rules);
    };
    add(0x0a09'0000, 16, 5); // nobody's
    const end client{0x0a00'0001, 1000};
    const end outside{0x0a01'0304, 53};
    const end inside{0x0a01'c801, 53};
    const std::vector<frame_bytes> there{padded(test::udp_frame(client, outside)),
                                         padded(test::udp_frame(client, inside))};
    const std::vector<frame_bytes> back{padded(test::udp_frame(outside, client)),
                                        padded(test::udp_frame(inside, client))};
    for (int i = 0; i < 3; ++i) {
        (void)one.send_at(1, there, 100);
        (void)one.send_at(2, back, 100);
    }
    const std::size_t before = one.went_the_long_way();
    EXPECT_EQ(one.send_at(1, there, 101)[2].size(), 2U);
    EXPECT_EQ(one.went_the_long_way(), before);
    add(0x0a01'8000, 17, 4);
    EXPECT_EQ(one.send_at(1, {there.front()}, 101)[2].size(), 1U);
    EXPECT_EQ(one.send_at(1, {there.back()}, 101)[4].size(), 1U);
}

// What one connection's packets came to is known of those of all, until flows change.
TEST(short_way_of_known_connections, is_open_to_new_ones_where_their_state_alone_tells_them)
{
    side one{true};
    one.publish(tracked({{output{2}}}));
    const end server{0x0a00'0002, 53};
    const auto there = [&](std::uint16_t port) {
        return padded(test::udp_frame({0x0a00'0001, port}, server));
    };
    const auto back = [&](std::uint16_t port) {
        return padded(test::udp_frame(server, {0x0a00'0001, port}));
    };
    for (int i = 0; i < 3; ++i) {
        (void)one.send_at(1, {there(1000)}, 100);
        (void)one.send_at(2, {back(1000)}, 100);
    }
    const std::size_t before = one.went_the_long_way();
    EXPECT_EQ(one.send_at(1, {there(1001)}, 100)[3].size(), 1U);
    EXPECT_EQ(one.went_the_long_way(), before + 2); // looked for, and begun
    (void)one.send_at(2, {back(1001)}, 100);
    EXPECT_EQ(one.send_at(1, {there(1001)}, 100)[2].size(), 1U);
    EXPECT_EQ(one.went_the_long_way(), before + 2);
    one.publish(tracked({{output{4}}}));
    EXPECT_EQ(one.send_at(1, {there(1001)}, 101)[4].size(), 1U);
    // A rule that asks for more.
    std::vector<plain_rule> rules = tracked({{output{4}}});
    plain_rule apart = rule_of(1, 7, {{output{5}}});
    apart.match.require(field::eth_type, 0x0800);
    apart.match.require(field::nw_proto, 17);
    apart.match.require(field::tp_src, 1001);
    rules.push_back(apart);
    one.publish(rules);
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(one.send_at(1, {there(1000)}, 101)[4].size(), 1U);
        EXPECT_EQ(one.send_at(1, {there(1001)}, 101)[5].size(), 1U);
    }
}

} // namespace
} // namespace strait::flow
