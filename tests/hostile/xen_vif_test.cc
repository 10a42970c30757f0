// SPDX-License-Identifier: BSD-3-Clause
// A guest that writes anything into its folder of the store in any order, while the tool stack does
// what it does, grants and channels fail, and the switch is restarted: the vif is up only when both
// sides say so, nothing is left in use, and whoever behaves in the end is connected.
#include "tests/hostile/random_source.hh"
#include "tests/soak.hh"
#include "tests/unit/ports/xen-netback/vif_lab.hh"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace strait::xen::test {
namespace {

using simulated::effect;
using simulated::operation;
using std::chrono::steady_clock;
using strait::test::random_source;

class random_guest {
public:
    random_guest(vif_lab& l, random_source& random) : lab_{l}, random_{random}
    {
        queue_ = simulated::netfront_queue::make(*l.guest, {.backend = domain_id{0}}).value();
    }
    // One thing that a guest, the tool stack or the switch's host can do.
    void step()
    {
        switch (random_() % 24) {
        case 0:
            (void)lab_.tools->detach_vif(lab_.domain, 0);
            break;
        case 1:
            lab_.set(lab_.back_path + "/online", random_() % 2 == 0 ? "0" : "1");
            break;
        case 2:
            lab_.restart();
            break;
        case 3:
            (void)lab_.guest->store().remove("device/vif/0/" + key());
            break;
        case 4:
            fail_something();
            break;
        case 5: // the whole device goes, and comes back
            (void)lab_.tools->forget_vif(lab_.domain, 0);
            if (random_() % 2 == 0) {
                lab_.back();
            }
            (void)lab_.tools->add_vif(lab_.domain, 0, "00:16:3e:00:00:01");
            break;
        case 6:
            (void)lab_.poll();
            lab_.transmit({make_frame("00:16:3e:00:00:01", "02:00:00:00:00:01", 1000)});
            break;
        case 7:
            if (random_() % 4 == 0) {
                auto f = queue_->tx().field(netif::ring_field::req_prod);
                f.store(static_cast<std::uint32_t>(random_()));
            }
            break;
        case 8:
        case 9:
        case 10:
            write_good_keys();
            break;
        case 11:
        case 12:
        case 13:
        case 14:
            (void)lab_.guest->store().write("device/vif/0/state", std::to_string(random_() % 9));
            break;
        default:
            (void)lab_.guest->store().write("device/vif/0/" + key(), value());
            break;
        }
        if (random_() % 3 != 0) {
            lab_.back();
        }
    }
    [[nodiscard]] bool nothing_in_use() { return queue_->revoke_all(); }

private:
    std::string key()
    {
        static const char* const all[] = {"tx-ring-ref",
                                          "rx-ring-ref",
                                          "event-channel",
                                          "event-channel-tx",
                                          "event-channel-rx",
                                          "request-rx-copy",
                                          "feature-sg",
                                          "feature-gso-tcpv4",
                                          "multi-queue-num-queues",
                                          "ctrl-ring-ref",
                                          "event-channel-ctrl",
                                          "xdp-headroom",
                                          "queue-0/tx-ring-ref",
                                          "queue-0",
                                          "queue-1/event-channel",
                                          "state",
                                          "backend",
                                          "request-multicast-control"};
        return all[random_() % std::size(all)];
    }
    std::string value()
    {
        switch (random_() % 8) {
        case 0:
            return "";
        case 1: {
            std::string text(random_() % 300, '\0');
            for (char& c : text) {
                c = static_cast<char>(random_());
            }
            return text;
        }
        case 2:
            return std::string(random_() % 1900, '7');
        case 3:
            return std::to_string(random_());
        case 4:
            return "-1";
        default:
            return std::to_string(random_() % 20);
        }
    }
    void write_good_keys()
    {
        const auto write = [&](const char* name, auto number) {
            (void)lab_.guest->store().write(std::string{"device/vif/0/"} + name,
                                            std::to_string(static_cast<std::uint32_t>(number)));
        };
        (void)lab_.guest->store().remove("device/vif/0/multi-queue-num-queues");
        (void)lab_.guest->store().remove("device/vif/0/ctrl-ring-ref");
        write("request-rx-copy", 1);
        write("tx-ring-ref", queue_->tx_ring_ref());
        write("rx-ring-ref", queue_->rx_ring_ref());
        write("event-channel-tx", queue_->tx_port());
        write("event-channel-rx", queue_->rx_port());
        write("state", random_() % 2 == 0 ? 4 : 1);
    }
    void fail_something()
    {
        simulated::faults f;
        if (random_() % 2 == 0) {
            const operation on[] = {operation::map, operation::bind, operation::copy};
            f.rules.push_back({.on = on[random_() % 3],
                               .what = effect::fail,
                               .skip = random_() % 3,
                               .count = 1 + random_() % 3});
        }
        lab_.hypervisor->set_faults(f);
    }

    vif_lab& lab_;
    random_source& random_;
    std::unique_ptr<simulated::netfront_queue> queue_;
};

TEST(hostile_xen_vif, random_folders_and_events_leave_nothing_and_harm_nobody)
{
    const auto time = strait::test::short_or_soak<steady_clock::duration>(std::chrono::seconds{3},
                                                                          std::chrono::minutes{3});
    const auto until = steady_clock::now() + time;
    std::uint64_t steps = 0;
    std::uint64_t connections = 0;
    for (unsigned seed = 1; steady_clock::now() < until && !testing::Test::HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        random_source random{seed};
        vif_lab l;
        {
            random_guest g{l, random};
            for (unsigned i = 0; i < 300; ++i, ++steps) {
                g.step();
                const bool up = l.up();
                connections += up ? 1U : 0U;
                // Up means that its own side says so; what the guest says since is not yet heard.
                if (up && l.back_state() != "4" && l.back_state() != "8") {
                    // Only the tool stack may have written over it.
                    ASSERT_TRUE(l.back_state() == "5" || l.back_state() == "1" ||
                                l.back_state() == "(none)")
                        << l.back_state();
                }
            }
            l.hypervisor->set_faults({});
            l.set(l.front_path + "/state", "6");
            l.back();
            EXPECT_FALSE(l.up());
            EXPECT_TRUE(g.nothing_in_use());
        }
        // A good driver, on a device that is as it should be.
        (void)l.tools->forget_vif(l.domain, 0);
        l.back();
        ASSERT_TRUE(l.tools->add_vif(l.domain, 0, "00:16:3e:00:00:01").has_value());
        l.back();
        EXPECT_EQ(l.back_state(), "2");
        ASSERT_TRUE(l.connect());
        EXPECT_TRUE(l.passes());
    }
    EXPECT_GT(connections * 100, steps) << "it hardly ever got that far";
    std::printf("%llu steps, up after %llu\n", static_cast<unsigned long long>(steps),
                static_cast<unsigned long long>(connections));
}

} // namespace
} // namespace strait::xen::test
