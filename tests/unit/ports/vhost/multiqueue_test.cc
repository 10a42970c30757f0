// SPDX-License-Identifier: BSD-3-Clause
// vhost-user ports of several queue pairs: what is offered, pairs that come and go under traffic,
// by one worker and by two, and front ends that name rings which are not there.
#include "lab.hh"

#include "tests/soak.hh"
#include "tests/unit/sanitizers.hh"

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::vhost::test {
namespace {

constexpr unsigned pairs = 4;

struct kind {
    bool packed;
    unsigned workers;
};

class multiqueue : public testing::TestWithParam<kind> {
protected:
    [[nodiscard]] static guest::options options(bool several = true)
    {
        const std::uint64_t features = GetParam().packed ? packed_features : split_features;
        return several ? guest::options{.features = features | multiqueue_bit, .pairs = pairs}
                       : guest::options{.features = features};
    }
    // A frame sent by one of a guest's pairs arrives at another's any.
    static void expect_to_pass(guest& from, unsigned pair, unsigned from_address, guest& to,
                               unsigned to_address)
    {
        const bytes sent = make_frame(to_address, from_address, 100 + pair, pair);
        ASSERT_TRUE(eventually([&] { return from.transmit(sent, true, pair); }));
        EXPECT_TRUE(eventually([&] {
            const auto frames = to.receive();
            return std::ranges::find(frames, sent) != frames.end();
        })) << "pair "
            << pair;
        EXPECT_TRUE(eventually([&] {
            (void)from.receive();
            return from.unsent(pair) == 0;
        })) << "its buffer came back";
    }
    [[nodiscard]] std::uint64_t drops(unsigned port) const
    {
        std::uint64_t sum = 0;
        for (std::uint16_t w = 0; w < GetParam().workers; ++w) {
            for (const auto& n : l.counters(port, w).drops) {
                sum += n.read();
            }
        }
        return sum;
    }

    static constexpr std::uint64_t multiqueue_bit = feature_bits({feature::multiqueue});
    lab l{2, false, pairs, GetParam().workers};
};
// ThreadSanitizer has those with most threads.
std::vector<kind> kinds()
{
    std::vector<kind> all;
    for (const unsigned workers : {1U, 2U}) {
        if (workers == 2 || !strait::test::thread_sanitizer || strait::test::soaking()) {
            all.push_back({false, workers});
            all.push_back({true, workers});
        }
    }
    return all;
}
INSTANTIATE_TEST_SUITE_P(kinds, multiqueue, testing::ValuesIn(kinds()), [](const auto& i) {
    return std::string{i.param.packed ? "packed" : "split"} +
           (i.param.workers == 1 ? "_one_worker" : "_two_workers");
});

TEST(multiqueue_ports, offer_as_many_pairs_as_they_have_and_one_pair_as_ever)
{
    {
        lab l{1, false, 3};
        front_end several{l.socket(0)};
        EXPECT_TRUE(has_feature(several.ask(request::get_features).value(), feature::multiqueue));
        EXPECT_TRUE(has_feature(several.ask(request::get_protocol_features).value(),
                                protocol_feature::multiqueue));
        EXPECT_EQ(several.ask(request::get_queue_num), 3U);
    }
    lab l{1};
    front_end one{l.socket(0)};
    EXPECT_FALSE(has_feature(one.ask(request::get_features).value(), feature::multiqueue));
    EXPECT_FALSE(
        has_feature(one.ask(request::get_protocol_features).value(), protocol_feature::multiqueue));
    EXPECT_EQ(one.ask(request::get_queue_num), 1U);
    EXPECT_EQ(l.detail(0, "queue_pairs"), "");
}

TEST(multiqueue_ports, have_a_queue_for_each_worker_that_can_have_pairs)
{
    lab l{0};
    for (const auto& [queues, workers, expected] :
         {std::array{4U, 1U, 1U}, std::array{4U, 3U, 3U}, std::array{2U, 3U, 2U}}) {
        settings s;
        s.name = "p";
        s.socket = l.folder() + "/p";
        s.state_dir = l.folder();
        s.queues = queues;
        s.workers = workers;
        EXPECT_EQ(make_port(s, l.engine().rcu()).value()->queues().size(), expected);
        s.queues = 17;
        EXPECT_THAT(make_port(s, l.engine().rcu()).error().message,
                    testing::HasSubstr("has 1 to 16 queue pairs, not 17"));
    }
}

TEST_P(multiqueue, every_pair_is_served)
{
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    for (unsigned pair = 0; pair < pairs; ++pair) {
        expect_to_pass(a, pair, 1, b, 2);
        expect_to_pass(b, pair, 2, a, 1);
    }
    EXPECT_EQ(drops(0) + drops(1), 0U);
    EXPECT_THAT(l.detail(0, "queue_pairs"), testing::Not(testing::HasSubstr("off")));
    a.use(2);
    EXPECT_THAT(l.detail(0, "queue_pairs"), testing::EndsWith(" off off"));
    a.use(0);
    EXPECT_FALSE(l.port(0).link_up());
}

TEST_P(multiqueue, many_flows_use_all_pairs_and_each_stays_in_order)
{
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    expect_to_pass(a, 0, 1, b, 2);
    constexpr unsigned flows = 40;
    std::map<unsigned, std::vector<unsigned>> expected;
    std::map<unsigned, std::vector<unsigned>> seen; // by flow: numbers in the order of arrival
    std::map<unsigned, std::vector<unsigned>> used; // by flow: pairs
    unsigned arrived = 0;
    const auto collect = [&] {
        for (unsigned pair = 0; pair < pairs; ++pair) {
            for (const bytes& f : a.receive(pair)) {
                const unsigned from = std::to_integer<unsigned>(f[11]) - 100;
                seen[from].push_back(std::to_integer<unsigned>(f[20]));
                used[from].push_back(pair);
                ++arrived;
            }
        }
    };
    for (unsigned n = 0; n < 400; ++n) {
        const unsigned flow = n % flows;
        bytes frame = make_frame(1, 100 + flow, 100, 0);
        frame[20] = static_cast<std::byte>(n / flows);
        // A driver chooses one pair for a flow, too.
        ASSERT_TRUE(eventually([&] { return b.transmit(frame, true, flow % pairs); }));
        expected[flow].push_back(n / flows);
        ASSERT_TRUE(eventually([&] {
            collect();
            return arrived + 16 > n;
        }));
    }
    ASSERT_TRUE(eventually([&] {
        collect();
        return arrived == 400;
    }));
    EXPECT_EQ(seen, expected);
    std::vector<unsigned> flows_of(pairs);
    for (const auto& [flow, by] : used) {
        EXPECT_THAT(by, testing::Each(by.front())) << "flow " << flow;
        ++flows_of[by.front()];
    }
    EXPECT_THAT(flows_of, testing::Each(testing::Gt(0U)));
}

// Frames go both ways while a driver uses more pairs and fewer. What a ring that is not used holds
// stays in it, and goes when it is used again; nothing is lost that is not counted.
TEST_P(multiqueue, pairs_come_and_go_under_traffic)
{
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    expect_to_pass(a, 0, 1, b, 2);
    std::minstd_rand random{7};
    std::uint64_t to_a = 0;
    std::uint64_t to_b = 0;
    std::uint64_t at_a = 0;
    std::uint64_t at_b = 0;
    const auto look = [&] {
        for (const bytes& f : a.receive()) {
            EXPECT_EQ(f, make_frame(1, std::to_integer<unsigned>(f[11]), 100, 3));
            ++at_a;
        }
        for (const bytes& f : b.receive()) {
            EXPECT_EQ(f, make_frame(2, 1, 200, 4));
            ++at_b;
        }
    };
    const auto rounds = strait::test::short_or_soak(25U, 60U);
    for (unsigned round = 0; round < rounds; ++round) {
        for (unsigned n = 0; n < 40; ++n) {
            const unsigned flow = 100 + static_cast<unsigned>(random() % 64);
            to_a += b.transmit(make_frame(1, flow, 100, 3), true, flow % pairs) ? 1U : 0U;
            to_b += a.transmit(make_frame(2, 1, 200, 4), true, n % pairs) ? 1U : 0U;
            if (n == 20) {
                a.use(1 + static_cast<unsigned>(random() % pairs));
            }
        }
        look();
    }
    a.use(pairs);
    const auto all_is_told = [&] {
        look();
        bool back = true;
        for (unsigned pair = 0; pair < pairs; ++pair) {
            back = back && a.unsent(pair) == 0 && b.unsent(pair) == 0;
        }
        return back && at_a + drops(0) == to_a && at_b + drops(1) == to_b;
    };
    EXPECT_TRUE(eventually(all_is_told)) << at_a << " and " << drops(0) << " of " << to_a << "; "
                                         << at_b << " and " << drops(1) << " of " << to_b;
    EXPECT_GT(at_a, to_a / 2);
    EXPECT_EQ(l.detail(0, "last_loss"), "");
}

TEST_P(multiqueue, each_ring_is_gone_on_with_where_it_stood)
{
    guest a{l.socket(0), options()};
    guest b{l.socket(1), options()};
    for (unsigned restart = 0; restart < 3; ++restart) {
        for (unsigned pair = 0; pair < pairs; ++pair) {
            for (unsigned n = 0; n <= pair; ++n) { // each at another place
                expect_to_pass(a, pair, 1, b, 2);
                expect_to_pass(b, pair, 2, a, 1);
            }
        }
        a.detach();
        l.stop(0);
        l.start(0);
        a.attach(l.socket(0));
        (void)a.receive();
    }
    for (unsigned pair = 0; pair < pairs; ++pair) {
        expect_to_pass(a, pair, 1, b, 2);
        expect_to_pass(b, pair, 2, a, 1);
    }
}

// As QEMU does for each pair that it adds.
TEST_P(multiqueue, features_that_are_said_again_interrupt_no_pair)
{
    guest a{l.socket(0), options()};
    const auto rings_begun = [&] { // a driver is told of each
        std::uint64_t sum = 0;
        for (unsigned pair = 0; pair < pairs; ++pair) {
            sum += a.rx(pair).interrupts() + a.tx(pair).interrupts();
        }
        return sum;
    };
    EXPECT_GE(rings_begun(), 2 * pairs);
    EXPECT_EQ(a.front().try_out(request::set_features, options().features), 0U);
    a.front().ask(request::get_features); // the library answers before the port has heard of it
    EXPECT_EQ(rings_begun(), 0U);
    a.front().enable(0, true);
    EXPECT_EQ(rings_begun(), 1U);
    guest b{l.socket(1), options()};
    expect_to_pass(b, pairs - 1, 2, a, 1);
}

// As QEMU does when firmware knew one pair and the system after it knows several, and at a reboot.
TEST_P(multiqueue, a_driver_with_one_pair_may_come_before_and_after_one_with_several)
{
    guest b{l.socket(1), options(false)};
    guest a{l.socket(0), options(false)};
    expect_to_pass(a, 0, 1, b, 2);
    for (const bool several : {true, false, true}) {
        a.boot(options(several));
        for (unsigned pair = 0; pair < (several ? pairs : 1); ++pair) {
            expect_to_pass(a, pair, 1, b, 2);
        }
        expect_to_pass(b, 0, 2, a, 1);
        EXPECT_EQ(l.detail(0, "obstacle"), "");
    }
}

// The library frees its rings then, and tells nobody.
TEST_P(multiqueue, pairs_that_a_driver_without_them_gave_up_are_no_obstacle)
{
    guest_ram ram{std::size_t{4} << 20};
    const ring_options rings{.packed = GetParam().packed,
                             .size = 64,
                             .features = options(false).features,
                             .start = {},
                             .shuffle = nullptr};
    const auto rx = make_driver(ram, rings);
    const auto tx = make_driver(ram, rings);
    front_end f{l.socket(0)};
    const auto serve = [&](unsigned pair) {
        f.set_ring(2 * pair, *rx, rings.packed ? 0x8000 : 0);
        f.set_ring(2 * pair + 1, *tx, rings.packed ? 0x8000 : 0);
        f.enable(2 * pair, true);
        f.enable(2 * pair + 1, true);
    };
    f.introduce(options().features);
    f.share(ram);
    serve(1);
    f.introduce(options(false).features);
    serve(0);
    EXPECT_EQ(l.detail(0, "obstacle"), "");
    EXPECT_EQ(l.detail(0, "last_loss"), "");
    EXPECT_EQ(l.detail(0, "queue_pairs"), "rx 0 of 64, tx 0 of 64 off off off");
}

// A front end may set rings up that its driver did not ask for; they end with the next features.
TEST_P(multiqueue, pairs_without_the_feature_are_taken_back_when_features_are_said_again)
{
    auto without = options(false);
    without.pairs = pairs;
    guest a{l.socket(0), without};
    guest b{l.socket(1), options()};
    expect_to_pass(a, 0, 1, b, 2);
    EXPECT_EQ(a.front().try_out(request::set_features, without.features), 0U);
    a.front().ask(request::get_features);
    EXPECT_THAT(l.detail(0, "queue_pairs"), testing::EndsWith(" off off off"));
    for (unsigned flow = 0; flow < 20; ++flow) {
        const bytes sent = make_frame(1, 100 + flow, 100, 3);
        ASSERT_TRUE(eventually([&] { return b.transmit(sent, true, flow % pairs); }));
        EXPECT_TRUE(eventually([&] {
            const auto frames = a.receive(0);
            return std::ranges::find(frames, sent) != frames.end();
        })) << "flow "
            << flow;
    }
}

// Each of them names a ring that the port does not have.
TEST_P(multiqueue, rings_beyond_the_last_are_refused)
{
    guest b{l.socket(1), options()};
    constexpr std::uint32_t beyond = 2 * pairs;
    for (const request r : {request::set_vring_num, request::set_vring_base,
                            request::get_vring_base, request::set_vring_enable}) {
        for (const std::uint32_t ring : {beyond + 1, 0xffU, 0xffff'ffffU}) {
            front_end f{l.socket(0)};
            f.introduce(options().features);
            f.send(r, vring_state{ring, 1});
            EXPECT_TRUE(f.is_closed()) << static_cast<unsigned>(r) << ' ' << ring;
        }
        guest a{l.socket(0), options()}; // whose others are served meanwhile
        a.front().send(r, vring_state{beyond, 1});
        EXPECT_TRUE(a.front().is_closed()) << static_cast<unsigned>(r);
    }
    EXPECT_THAT(l.detail(0, "last_loss"), testing::HasSubstr("there is no ring"));
    {
        guest a{l.socket(0), options()};
        vring_address address{};
        address.index = beyond;
        a.front().send(request::set_vring_addr, address);
        EXPECT_TRUE(a.front().is_closed());
        EXPECT_THAT(
            l.detail(0, "last_loss"),
            testing::HasSubstr("there is no ring 8; the port has 4 queue pairs, rings 0 to 7"));
    }
    for (const request r : {request::set_vring_kick, request::set_vring_call}) {
        guest a{l.socket(0), options()};
        const int fd = a.tx().kick_fd();
        a.front().send(r, std::uint64_t{beyond}, std::span{&fd, 1});
        EXPECT_TRUE(a.front().is_closed());
    }
    guest a{l.socket(0), options()};
    expect_to_pass(a, pairs - 1, 1, b, 2);
}

TEST_P(multiqueue, rings_that_nobody_set_up_can_be_enabled_and_are_not_served)
{
    guest b{l.socket(1), options()};
    auto few = options();
    few.pairs = 1;
    guest a{l.socket(0), few};
    for (unsigned ring = 2; ring < 2 * pairs; ++ring) {
        a.front().enable(ring, true);
        a.front().enable(ring, ring % 2 == 0);
    }
    expect_to_pass(a, 0, 1, b, 2);
    for (unsigned pair = 0; pair < pairs; ++pair) {
        expect_to_pass(b, pair, 2, a, 1);
    }
    EXPECT_THAT(l.detail(0, "queue_pairs"), testing::EndsWith(" off off off"));
}

} // namespace
} // namespace strait::vhost::test
