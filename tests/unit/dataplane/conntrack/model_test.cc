// SPDX-License-Identifier: BSD-3-Clause
// A tracker beside a model that is a list and looks at all of it: hundreds of thousands of packets
// between a few ends, committed, forced, translated, forgotten in time and flushed, must be in the
// same state to both, and leave as the model says. Once as one worker's, and once as that of three,
// any of which may get any packet.
#include "tests/soak.hh"
#include "tests/unit/dataplane/conntrack/packets.hh"
#include "tests/unit/sanitizers.hh"

#include "dataplane/conntrack/tracker.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>

namespace strait::test {
namespace {

namespace ct = conntrack::state;
using conntrack::seconds_t;

// A packet's ends; an echo's identifier is both ports.
struct pair_of_ends {
    end from;
    end to;
    bool operator==(const pair_of_ends&) const = default;
    [[nodiscard]] pair_of_ends turned() const { return {to, from}; }
};

enum class kind : std::uint8_t { udp, echo, other };

struct packet {
    kind is;
    bool ipv6;
    bool answer; // of an echo
    pair_of_ends ends;

    [[nodiscard]] frame build() const
    {
        switch (is) {
        case kind::udp:
            return udp_frame(ends.from, ends.to, "m", ipv6);
        case kind::echo:
            return echo_frame(ends.from, ends.to, answer, ipv6);
        case kind::other:
            break;
        }
        datagram d{.ipv6 = ipv6, .from = ends.from, .to = ends.to, .protocol = 47};
        d.content = frame(12, 0);
        return d.build();
    }
};

class model {
public:
    struct connection {
        kind is;
        bool ipv6;
        conntrack::zone_id zone;
        pair_of_ends there;
        pair_of_ends back;
        seconds_t deadline;
        std::uint32_t mark{0};
        bool seen_reply{false};
    };
    struct verdict {
        std::uint32_t state;
        connection* of;
        bool reply;
    };

    verdict look(const packet& p, conntrack::zone_id zone, bool turn, seconds_t now)
    {
        forget([&](const connection& c) { return c.deadline <= now; });
        for (auto c = all_.begin(); c != all_.end(); ++c) {
            if (c->is != p.is || c->ipv6 != p.ipv6 || c->zone != zone) {
                continue;
            }
            const bool forth = c->there == p.ends && !(p.is == kind::echo && p.answer);
            const bool reply = c->back == p.ends && !(p.is == kind::echo && !p.answer);
            if (!forth && !reply) {
                continue;
            }
            if (turn && !forth) {
                all_.erase(c);
                break;
            }
            touch(*c, !forth, now);
            const bool snat = c->there.turned().to != c->back.to;
            const bool dnat = c->there.turned().from != c->back.from;
            return {ct::tracked |
                        (!forth          ? ct::established | ct::reply
                         : c->seen_reply ? ct::established
                                         : ct::fresh) |
                        (snat ? ct::source_translated : 0) |
                        (dnat && p.is != kind::echo ? ct::destination_translated : 0),
                    &*c, !forth};
        }
        const bool invalid = p.is == kind::echo && p.answer;
        return {ct::tracked | (invalid ? ct::invalid : ct::fresh), nullptr, false};
    }
    connection& add(const packet& p, conntrack::zone_id zone, const pair_of_ends& back,
                    seconds_t now)
    {
        connection& c = all_.emplace_back(connection{p.is, p.ipv6, zone, p.ends, back, 0});
        touch(c, false, now);
        return c;
    }
    // Somebody's tuple already?
    [[nodiscard]] bool is_taken(const packet& p, conntrack::zone_id zone,
                                const pair_of_ends& back) const
    {
        return std::ranges::any_of(all_, [&](const connection& c) {
            return c.is == p.is && c.ipv6 == p.ipv6 && c.zone == zone &&
                   ((c.there == back && p.is != kind::echo) || c.back == back);
        });
    }
    template <typename Which>
    void forget(const Which& which)
    {
        std::erase_if(all_, which);
    }
    [[nodiscard]] std::size_t size() const { return all_.size(); }

private:
    static void touch(connection& c, bool reply, seconds_t now)
    {
        c.seen_reply |= reply;
        const conntrack::timeouts times{};
        c.deadline = now + (c.is == kind::echo    ? times.query
                            : c.is == kind::other ? times.other_protocol
                            : c.seen_reply        ? times.datagram
                                                  : times.datagram_first);
    }
    std::list<connection> all_;
};

class conntrack_model : public testing::TestWithParam<unsigned> {
protected:
    packet random_packet()
    {
        packet p{};
        p.is = static_cast<kind>(random_() % 3);
        p.ipv6 = random_() % 3 == 0;
        const auto any = [&] {
            return end{static_cast<std::uint32_t>(0x0a00'0000 + random_() % 4),
                       static_cast<std::uint16_t>(2000 + random_() % 4)};
        };
        p.ends = {any(), any()};
        p.answer = p.is == kind::echo && random_() % 2 == 0;
        if (p.is == kind::echo) {
            p.ends.to.port = p.ends.from.port;
        }
        if (p.is == kind::other) {
            p.ends.from.port = 0;
            p.ends.to.port = 0;
        }
        return p;
    }
    flow::nat random_nat(const packet& p)
    {
        flow::nat n{.which = static_cast<flow::nat::side>(random_() % 3), .ipv6 = p.ipv6};
        const std::uint64_t address = 0x0a00'0000 + random_() % 6;
        n.first = n.last = flow::wide{p.ipv6 ? std::uint64_t{0xfd00'0000} << 32 : 0, address};
        if (random_() % 2 == 0) {
            n.first_port = 2000;
            n.last_port = static_cast<std::uint16_t>(2000 + random_() % 6);
        }
        n.random = random_() % 4 == 0;
        return n;
    }
    // Ends of what came out.
    static pair_of_ends ends_of(const frame& f, const packet& p)
    {
        pair_of_ends out{source_of(f), destination_of(f)};
        if (p.is == kind::other) {
            out.from.port = 0;
            out.to.port = 0;
        }
        return out;
    }
    conntrack::tracker& any_tracker() { return *trackers_[random_() % trackers_.size()]; }
    conntrack::zone_id any_zone()
    {
        const auto n = static_cast<conntrack::zone_id>(random_() % 4);
        return n == 3 ? conntrack::make_zone(1, true) : n;
    }
    void step();
    void pass_time();

    std::mt19937_64 random_{20};
    conntrack::store store_{{.connections = 4096, .workers = GetParam()}};
    std::vector<std::unique_ptr<conntrack::tracker>> trackers_ = [this] {
        std::vector<std::unique_ptr<conntrack::tracker>> out;
        for (unsigned w = 0; w < GetParam(); ++w) {
            out.push_back(std::make_unique<conntrack::tracker>(store_, w));
        }
        return out;
    }();
    model model_;
    seconds_t now_{5000};
    unsigned committed_{0};
    unsigned translated_{0};
    unsigned refused_{0};
};

void conntrack_model::pass_time()
{
    if (random_() % 400 == 0) {
        now_ += static_cast<seconds_t>(random_() % 8 == 0 ? 700U : random_() % 20);
    }
    any_tracker().maintain(now_);
    if (random_() % 5000 == 0) {
        const auto zone = static_cast<conntrack::zone_id>(random_() % 3);
        flow::match of_zone;
        of_zone.require(flow::field::ct_zone, zone);
        conntrack::job j{conntrack::job::kind::forget, of_zone};
        conntrack::tracker& one = any_tracker();
        ASSERT_TRUE(one.submit(j));
        while (!j.done()) {
            one.maintain(now_);
        }
        model_.forget([&](const model::connection& c) { return c.zone == zone; });
    }
}

void conntrack_model::step()
{
    const packet p = random_packet();
    const flow::nat nat = random_nat(p);
    conntrack::parameters asked;
    asked.zone = any_zone();
    asked.commit = random_() % 2 == 0;
    asked.force = asked.commit && random_() % 8 == 0;
    asked.translation = random_() % 3 == 0 ? &nat : nullptr;
    asked.mark = static_cast<std::uint32_t>(random_());
    asked.mark_mask = random_() % 4 == 0 ? 0xff : 0;

    asking a{p.build(), asked};
    any_tracker().track({&a.request(), 1}, now_);
    const conntrack::request& got = a.request();
    const model::verdict wanted = model_.look(p, asked.zone, asked.force, now_);

    pair_of_ends leaves = p.ends;
    std::uint32_t state = wanted.state;
    constexpr std::uint32_t sides = ct::source_translated | ct::destination_translated;
    model::connection* of = wanted.of;
    if (of == nullptr && asked.commit && (state & ct::fresh) != 0) {
        if (got.dropped) {
            ASSERT_EQ(got.reason, dataplane::drop_reason::ct_no_translation);
            ++refused_;
            if (asked.translation == nullptr || nat.which == flow::nat::side::restore) {
                ASSERT_TRUE(model_.is_taken(p, asked.zone, p.ends.turned()));
            }
            return;
        }
        leaves = ends_of(a.bytes(), p);
        ASSERT_FALSE(model_.is_taken(p, asked.zone, leaves.turned()));
        of = &model_.add(p, asked.zone, leaves.turned(), now_);
        ++committed_;
        if (leaves != p.ends) {
            ++translated_;
            ASSERT_NE(asked.translation, nullptr);
            const bool source = nat.which == flow::nat::side::source;
            ASSERT_EQ((source ? leaves.from : leaves.to).address,
                      static_cast<std::uint32_t>(nat.first.low));
            if (p.is != kind::echo) {
                ASSERT_EQ(source ? leaves.to : leaves.from, source ? p.ends.to : p.ends.from);
            }
            state |=
                leaves.from != p.ends.from ? ct::source_translated : ct::destination_translated;
        }
    } else if (of != nullptr && asked.translation != nullptr) {
        leaves = wanted.reply ? of->there.turned() : of->back.turned();
        if (wanted.reply && (state & sides) != 0) { // of the packet, not of the first one
            state ^= sides;
        }
    }
    if (of != nullptr && asked.commit) {
        of->mark = (of->mark & ~asked.mark_mask) | (asked.mark & asked.mark_mask);
    }
    ASSERT_FALSE(got.dropped);
    ASSERT_EQ(ends_of(a.bytes(), p), leaves);
    ASSERT_TRUE(checksums_fit(a.bytes()));
    // Of an echo the address that is translated tells which end it is.
    if (p.is == kind::echo) {
        ASSERT_EQ(got.answer.state & ~sides, state & ~sides);
    } else {
        ASSERT_EQ(got.answer.state, state);
    }
    ASSERT_EQ(got.answer.mark, of != nullptr ? of->mark : 0U);
    if (of != nullptr) {
        ASSERT_EQ(static_cast<std::uint32_t>(got.answer.source.low), of->there.from.address);
        ASSERT_EQ(static_cast<std::uint32_t>(got.answer.destination.low), of->there.to.address);
    }
}

TEST_P(conntrack_model, a_tracker_says_of_every_packet_what_a_list_would_say)
{
    const unsigned steps = fewer_if(address_sanitizer, 300'000U, 40'000U);
    for (unsigned i = 0; i < steps; ++i) {
        step();
        ASSERT_FALSE(HasFatalFailure()) << "step " << i;
        pass_time();
        ASSERT_FALSE(HasFatalFailure());
    }
    EXPECT_GT(committed_, steps / 200);
    EXPECT_GT(translated_, steps / 1000);
    EXPECT_GT(refused_, 0U);
}

TEST_P(conntrack_model, every_connection_is_shown_once)
{
    const unsigned steps = fewer_if(address_sanitizer, 20'000U, 8'000U);
    for (unsigned i = 0; i < steps; ++i) {
        step();
        ASSERT_FALSE(HasFatalFailure()) << "step " << i;
    }
    model_.forget([&](const model::connection& c) { return c.deadline <= now_; });
    std::vector<conntrack::connection_record> room(7);
    std::size_t shown = 0;
    auto j = std::make_unique<conntrack::job>(conntrack::job::kind::show, flow::match{}, room);
    for (;;) {
        ASSERT_TRUE(trackers_.front()->submit(*j));
        ASSERT_FALSE(trackers_.front()->submit(*j)) << "one at a time";
        while (!j->done()) {
            trackers_.front()->maintain(now_);
        }
        shown += j->count();
        for (std::size_t i = 0; i < j->count(); ++i) {
            EXPECT_GT(room[i].seconds_left, 0U);
        }
        if (j->at_end()) {
            break;
        }
        auto next =
            std::make_unique<conntrack::job>(conntrack::job::kind::show, flow::match{}, room);
        next->go_on_after(*j);
        j = std::move(next);
    }
    EXPECT_EQ(shown, model_.size());
    flow::match some;
    some.require(flow::field::ct_zone, 1);
    some.require(flow::field::eth_type, 0x86dd);
    some.require(flow::field::nw_proto, 17);
    conntrack::job one{conntrack::job::kind::show, some, room};
    ASSERT_TRUE(trackers_.front()->submit(one));
    while (!one.done()) {
        trackers_.front()->maintain(now_);
    }
    for (std::size_t i = 0; i < one.count(); ++i) {
        EXPECT_EQ(room[i].original.zone, 1);
        EXPECT_TRUE(room[i].original.ipv6);
        EXPECT_EQ(room[i].original.protocol, 17);
    }
}

INSTANTIATE_TEST_SUITE_P(workers, conntrack_model, testing::Values(1U, 3U));

} // namespace
} // namespace strait::test
