// SPDX-License-Identifier: BSD-3-Clause
// Guests that come and go, however they go: nothing stays behind, counted.
#include "hostile_lab.hh"

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

namespace strait::vhost::test {
namespace {

class reconnection : public attacked_switch {
protected:
    void gone()
    {
        ASSERT_TRUE(eventually([&] { return lab_.detail(victim, "connected") == "false"; }));
    }
    // The last connection's share is let go a moment after the port is free again.
    static void expect_same(const holdings& before, bool heap_too = true)
    {
        eventually([&] {
            const holdings now = holdings::now();
            return now.descriptors == before.descriptors && now.mappings == before.mappings &&
                   now.dpdk == before.dpdk;
        });
        const holdings after = holdings::now();
        EXPECT_EQ(after.descriptors, before.descriptors);
        EXPECT_EQ(after.mappings, before.mappings);
        EXPECT_EQ(after.dpdk, before.dpdk);
        if (heap_too) {
            EXPECT_LT(after.heap, before.heap + 64 * 1024);
        }
    }
    // To count from: what went before is let go.
    [[nodiscard]] holdings settled_holdings()
    {
        gone();
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
        return holdings::now();
    }
};

TEST_F(reconnection, two_hundred_times_under_load)
{
    start_flood();
    const auto once = [&](int i) {
        guest g{lab_.socket(victim), {.features = i % 2 == 0 ? split_features : packed_features}};
        ASSERT_TRUE(eventually([&] { return !g.receive().empty(); }));
        ASSERT_TRUE(g.transmit(make_broadcast(9, 200, static_cast<unsigned>(i))));
        g.detach();
        gone();
    };
    // Until the heap has what it keeps for next time.
    holdings before{};
    for (std::size_t grown = SIZE_MAX, turn = 0; grown > 4096 && turn < 20; ++turn) {
        for (int i = 0; i < 50; ++i) {
            once(i);
        }
        stop_flood();
        const holdings now = settled_holdings();
        grown = now.heap - std::min(now.heap, before.heap);
        before = now;
        start_flood();
    }
    for (int i = 0; i < 200; ++i) {
        once(i);
    }
    stop_flood();
    gone();
    expect_same(before);
}

// The same guest, whose VMM comes back to the rings as they stand, with packets in flight.
TEST_F(reconnection, two_hundred_times_with_the_same_rings)
{
    for (const bool packed : {false, true}) {
        SCOPED_TRACE(packed ? "packed" : "split");
        guest g{lab_.socket(victim), {.features = packed ? packed_features : split_features}};
        start_flood();
        const auto once = [&] {
            ASSERT_TRUE(eventually([&] { return !g.receive().empty(); }));
            g.detach();
            gone();
            g.attach(lab_.socket(victim));
        };
        for (int i = 0; i < 10; ++i) {
            once();
        }
        const holdings before = holdings::now();
        for (int i = 0; i < 200; ++i) {
            once();
        }
        expect_same(before, false); // the guest's driver allocates, too
        stop_flood();
        EXPECT_TRUE(talk(g, 9, second_, 2));
        g.detach();
        gone();
    }
}

TEST_F(reconnection, at_every_stage_of_coming_up)
{
    const auto once = [&](int stage) {
        const guest_ram ram{1 << 20};
        front_end f{lab_.socket(victim)};
        if (stage > 0) {
            f.introduce(split_features);
        }
        if (stage > 1) {
            f.share(ram);
        }
        if (stage > 2) {
            f.try_out(request::set_vring_num, vring_state{0, 64});
        }
        if (stage > 3) {
            f.enable(0, true);
        }
        if (stage > 4) {
            f.send(request::reset_owner);
        }
    };
    for (int stage = 0; stage < 6; ++stage) {
        once(stage);
        gone();
    }
    const holdings before = settled_holdings();
    for (int i = 0; i < 120; ++i) {
        once(i % 6);
        gone();
    }
    expect_same(before);
}

// A front end in a process of its own, killed while packets flow into its memory.
TEST_F(reconnection, after_a_front_end_was_killed)
{
    start_flood();
    for (int i = 0; i < 20; ++i) {
        // The child makes its sockets and memory itself, and takes nothing of this process's.
        int ready[2];
        ASSERT_EQ(::pipe(ready), 0);
        const std::string path = lab_.socket(victim);
        const pid_t child = ::fork();
        if (child == 0) {
            guest g{path};
            const char yes = 1;
            if (::write(ready[1], &yes, 1) != 1) {
                ::_exit(1);
            }
            for (;;) {
                g.receive();
            }
        }
        char yes = 0;
        EXPECT_EQ(::read(ready[0], &yes, 1), 1);
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        ::close(ready[0]);
        ::close(ready[1]);
        gone();
    }
}

} // namespace
} // namespace strait::vhost::test
