// SPDX-License-Identifier: BSD-3-Clause
// Xen guests that connect and disconnect by the thousand, in every way in which that ends: nothing
// is left of them, neither grants in use nor channels, watches, mbufs, descriptors or memory. The
// hypervisor's server is in this process, so that what it keeps is counted, too.
#include "tests/soak.hh"
#include "tests/unit/ports/xen-netback/ring_lab.hh"

#include "ports/xen-netback/simulated/front_ring.hh"
#include "ports/xen-netback/vif.hh"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <string>

namespace strait::xen::test {
namespace {

using simulated::simulated_guest;
using simulated::tool_stack;
using simulated::test::holdings;

constexpr domain_id domain{1};

// As little of a driver as a back end connects to: two rings and their channels, each time the
// same.
class small_guest {
public:
    small_guest(lab& l, tool_stack& t)
    {
        EXPECT_TRUE(t.create_domain(domain, "guest", {512, 64}).has_value());
        EXPECT_TRUE(t.add_vif(domain, 0, "00:16:3e:00:00:01").has_value());
        guest_ = l.guest(domain, {512, 64});
        pages_ = guest_->allocate(pages).value();
        for (auto& r : grants_) {
            r = guest_->reserve().value();
        }
        offer();
        write("request-rx-copy", "1");
        write("feature-sg", "1");
        write("tx-ring-ref", number(grants_[0]));
        write("rx-ring-ref", number(grants_[1]));
    }
    void write(const std::string& key, const std::string& value)
    {
        EXPECT_TRUE(guest_->store().write("device/vif/0/" + key, value).has_value()) << key;
    }
    // New rings, granted.
    void begin()
    {
        tx_ = simulated::tx_front_ring{pages_};
        rx_ = simulated::rx_front_ring{pages_ + page_size};
        grant(0);
        grant(1);
    }
    // A frame in one, and room for one in the other.
    void fill()
    {
        grant(2);
        grant(3);
        const frame f = make_frame("02:00:00:00:00:01", "00:16:3e:00:00:01", 3000);
        std::memcpy(pages_ + 2 * page_size, f.data(), f.size());
        tx_.put(netif::tx_request{.grant = static_cast<std::uint32_t>(grants_[2]),
                                  .offset = 0,
                                  .flags = 0,
                                  .id = 0,
                                  .size = 3000});
        rx_.put(netif::rx_request{
            .id = 0, .padding = 0, .grant = static_cast<std::uint32_t>(grants_[3])});
        (void)tx_.publish();
        (void)rx_.publish();
    }
    void break_ring() { tx_.field(netif::ring_field::req_prod).store(9999); }
    [[nodiscard]] bool revoke()
    {
        bool all = true;
        for (const grant_ref r : grants_) {
            all = guest_->end(r) && all;
        }
        return all;
    }
    // Others, since one that was bound is the back end's until it lets go.
    void offer()
    {
        tx_channel_ = guest_->offer(domain_id{0}).value();
        rx_channel_ = guest_->offer(domain_id{0}).value();
        write("event-channel-tx", number(tx_channel_.port));
        write("event-channel-rx", number(rx_channel_.port));
    }
    [[nodiscard]] std::uint32_t highest_port() const
    {
        return std::max(static_cast<std::uint32_t>(tx_channel_.port),
                        static_cast<std::uint32_t>(rx_channel_.port));
    }

private:
    static constexpr std::uint32_t pages = 4;
    void grant(std::size_t i)
    {
        guest_->regrant(grants_.at(i), domain_id{0}, pages_ + i * page_size);
    }
    template <typename T>
    static std::string number(T value)
    {
        return std::to_string(static_cast<std::uint32_t>(value));
    }
    std::unique_ptr<simulated_guest> guest_;
    std::byte* pages_{nullptr};
    std::array<grant_ref, pages> grants_{};
    simulated::tx_front_ring tx_;
    simulated::rx_front_ring rx_;
    simulated_guest::offered tx_channel_{};
    simulated_guest::offered rx_channel_{};
};

class leak : public testing::Test {
protected:
    leak()
    {
        strait::test::start_eal();
        pool_ = strait::test::make_pool(64);
        worker_.pool = pool_.get();
        serve();
        guest_ = std::make_unique<small_guest>(lab_, *tools_);
    }
    ~leak() override { vif_->detach(); }

    void serve()
    {
        hypervisor_ = lab_.hypervisor();
        vif_ = std::make_unique<vif>(vif_id{domain, 0},
                                     vif_settings{.port = "vm", .mtu = 1500, .tsc_hz = tsc_hz},
                                     *hypervisor_, rcu_, queue_);
    }
    void back()
    {
        while (hypervisor_->store().next_event()) {}
        ASSERT_TRUE(vif_->evaluate());
        (void)vif_->look();
    }
    // A frame from it is received, made local, and sent to it.
    void pass()
    {
        worker_.burst->clear();
        ASSERT_EQ(queue_.receive(*worker_.burst, worker_.context()), ports::rx_queue::poll::taken);
        dataplane::packet* const p[] = {&worker_.burst->packets().front()};
        dataplane::localise(p, pool_.get());
        ASSERT_NE(p[0]->mbuf, nullptr);
        queue_.transmit(p, worker_.context());
        queue_.release(*worker_.burst, worker_.context());
        worker_.notifications.flush();
    }
    void cycle(unsigned n);

    lab lab_;
    std::unique_ptr<tool_stack> tools_{lab_.tools()};
    dataplane::rcu_domain rcu_;
    queue queue_;
    worker_side worker_;
    strait::test::pool_ptr pool_;
    std::unique_ptr<simulated::simulated_hypervisor> hypervisor_;
    std::unique_ptr<vif> vif_;
    std::unique_ptr<small_guest> guest_;
};

void leak::cycle(unsigned n)
{
    guest_->begin();
    guest_->write("state", "1");
    back();
    guest_->write("state", "4");
    back();
    ASSERT_TRUE(vif_->link_up()) << n;
    ASSERT_FALSE(guest_->revoke()) << "its rings are in use";
    guest_->fill();
    pass();
    switch (n % 5) {
    case 0: // its driver closes it
        guest_->write("state", "5");
        back();
        guest_->write("state", "6");
        back();
        break;
    case 1: // it breaks its ring
        guest_->break_ring();
        worker_.burst->clear();
        (void)queue_.receive(*worker_.burst, worker_.context());
        back();
        break;
    case 2: // its driver starts anew without a word
        guest_->write("state", "1");
        back();
        break;
    case 3: // a connection that fails after its rings were mapped
        guest_->write("state", "1");
        back();
        guest_->write("ctrl-ring-ref", "500");
        guest_->write("event-channel-ctrl", "1");
        guest_->write("state", "4");
        back();
        ASSERT_FALSE(vif_->link_up());
        guest_->write("event-channel-ctrl", "");
        break;
    default: // the switch ends, and another takes it over, and closes it
        vif_->detach();
        vif_.reset();
        hypervisor_.reset();
        serve();
        back();
        ASSERT_TRUE(vif_->link_up()) << n;
        guest_->write("state", "6");
        back();
        break;
    }
    ASSERT_FALSE(vif_->link_up());
    ASSERT_TRUE(guest_->revoke()) << "a grant is still in use after cycle " << n;
    ASSERT_EQ(rte_mempool_avail_count(pool_.get()), 64U);
    if (n % 100 == 99) { // the domain goes, too
        guest_.reset();
        ASSERT_TRUE(tools_->destroy_domain(domain).has_value());
        back();
        ASSERT_TRUE(tools_->forget_domain(domain).has_value());
        back();
        ASSERT_TRUE(simulated::test::eventually([&] { return lab_.server().domains() == 0; }));
        guest_ = std::make_unique<small_guest>(lab_, *tools_);
        back();
    }
}

TEST_F(leak, nothing_is_left_of_connections_however_they_ended)
{
    const auto cycles = strait::test::short_or_soak(500U, 100'000U);
    constexpr unsigned warm = 200;
    for (unsigned n = 0; n < warm && !HasFatalFailure(); ++n) {
        cycle(n);
    }
    const holdings before = holdings::now();
    const std::uint32_t ports = guest_->highest_port();
    for (unsigned n = 0; n < cycles && !HasFatalFailure(); ++n) {
        cycle(n);
    }
    const holdings after = holdings::now();
    EXPECT_EQ(after.descriptors, before.descriptors);
    EXPECT_LE(after.mappings, before.mappings + 8);
    EXPECT_LE(after.heap, before.heap + (std::size_t{256} << 10));
    EXPECT_EQ(guest_->highest_port(), ports);
    EXPECT_TRUE(simulated::test::eventually([&] { return lab_.server().connections() == 3; }))
        << "the tool stack, the switch and the guest, not " << lab_.server().connections();
    // Of watches, no more than there were: each change is told of once.
    while (hypervisor_->store().next_event()) {}
    guest_->write("feature-sg", "1");
    unsigned told = 0;
    while (simulated::test::next_event(hypervisor_->store(), std::chrono::milliseconds{100})) {
        ++told;
    }
    EXPECT_EQ(told, 1U);
    // And none when nobody serves the device.
    vif_->detach();
    guest_->write("feature-sg", "1");
    EXPECT_FALSE(simulated::test::next_event(hypervisor_->store(), std::chrono::milliseconds{100}));
    std::printf("%u cycles; descriptors %zu, mappings %zu, heap %zu to %zu bytes\n", cycles,
                after.descriptors, after.mappings, before.heap, after.heap);
}

} // namespace
} // namespace strait::xen::test
