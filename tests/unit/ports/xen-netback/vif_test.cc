// SPDX-License-Identifier: BSD-3-Clause
// The states of a vif: every event that a guest, a tool stack or a switch can make, what stands in
// the store after each, and that frames go through whenever both sides say so. Frontends that write
// what none writes, and guests that vanish in between.
#include "ports/xen-netback/vif.hh"

#include "tests/unit/dataplane/ip_frame.hh"
#include "tests/unit/ports/xen-netback/vif_lab.hh"

#include "ports/xen-netback/fault.hh"

#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <functional>
#include <numeric>
#include <thread>

namespace strait::xen::test {
namespace {

using dataplane::drop_reason;
using simulated::effect;
using simulated::fault_rule;
using simulated::operation;
using testing::HasSubstr;
using namespace std::chrono_literals;

// ---- the table of events, row by row ----

TEST(vif_event, connect)
{
    vif_lab l;
    EXPECT_EQ(l.front_state(), "1");
    EXPECT_EQ(l.back_state(), "2");
    EXPECT_EQ(l.get(l.back_path + "/hotplug-status"), "connected") << "libxl waits for it";
    EXPECT_FALSE(l.up());
    l.driver = std::make_unique<netfront>(*l.guest, netfront_options{});
    ASSERT_TRUE(l.driver->start().has_value());
    EXPECT_EQ(l.front_state(), "4") << "Linux leaves out 3";
    EXPECT_EQ(l.back_state(), "2");
    l.back();
    EXPECT_EQ(l.back_state(), "4");
    EXPECT_TRUE(l.up());
    l.front();
    EXPECT_TRUE(l.passes());
    EXPECT_EQ(l.detail("connections"), "1");
    EXPECT_EQ(l.detail("taken_over"), "no");
}

TEST(vif_event, shutdown)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.set(l.front_path + "/state", "5");
    l.back();
    EXPECT_EQ(l.back_state(), "5");
    EXPECT_FALSE(l.up());
    l.set(l.front_path + "/state", "6");
    l.back();
    EXPECT_EQ(l.back_state(), "6");
    EXPECT_TRUE(l.driver->queue().revoke_all()) << "nothing of the guest's is in use any more";
}

TEST(vif_event, detach)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    ASSERT_TRUE(l.tools->detach_vif(l.domain, 0).has_value());
    l.back();
    EXPECT_EQ(l.back_state(), "5");
    l.front();
    EXPECT_EQ(l.front_state(), "6") << "Linux goes there at once";
    l.back();
    EXPECT_EQ(l.back_state(), "6");
    EXPECT_TRUE(l.driver->queue().revoke_all());
    ASSERT_TRUE(l.tools->forget_vif(l.domain, 0).has_value());
    l.back();
    EXPECT_EQ(l.get(l.back_path), "(none)") << "and what was removed is not written to";
}

// As the tool stack leaves it for a moment when it removes one.
TEST(vif_event, a_device_without_a_state_is_gone_whatever_its_frontend_says)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    ASSERT_TRUE(l.tools->store().remove(l.back_path + "/state").has_value());
    l.back();
    l.back();
    EXPECT_FALSE(l.up());
    EXPECT_EQ(l.back_state(), "(none)");
    EXPECT_EQ(l.front_state(), "4");
    EXPECT_TRUE(l.driver->queue().revoke_all());
}

TEST(vif_event, detach_of_a_device_that_no_driver_ever_used)
{
    vif_lab l;
    EXPECT_EQ(l.back_state(), "2");
    ASSERT_TRUE(l.tools->detach_vif(l.domain, 0).has_value());
    l.back();
    EXPECT_EQ(l.back_state(), "6") << "or libxl waits for it in vain";
}

TEST(vif_event, destroy)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.kill_guest();
    ASSERT_TRUE(l.tools->destroy_domain(l.domain).has_value());
    EXPECT_EQ(l.back_state(), "5");
    l.back();
    EXPECT_EQ(l.back_state(), "6") << "nobody else will write it, and libxl waits";
    EXPECT_FALSE(l.up());
    EXPECT_EQ(l.detail("last_error"), "the guest is gone");
}

TEST(vif_event, unbind_and_bind)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    for (int round = 0; round < 3; ++round) {
        l.set(l.front_path + "/state", "5");
        l.back();
        EXPECT_EQ(l.back_state(), "5");
        l.set(l.front_path + "/state", "6");
        l.back();
        EXPECT_EQ(l.back_state(), "6");
        l.driver = std::make_unique<netfront>(*l.guest, netfront_options{});
        l.set(l.front_path + "/state", "1");
        l.back();
        EXPECT_EQ(l.back_state(), "2");
        ASSERT_TRUE(l.connect());
        EXPECT_TRUE(l.passes());
    }
    EXPECT_EQ(l.detail("connections"), "4");
}

TEST(vif_event, attach_again)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    ASSERT_TRUE(l.tools->detach_vif(l.domain, 0).has_value());
    l.settle();
    ASSERT_TRUE(l.tools->forget_vif(l.domain, 0).has_value());
    l.back();
    ASSERT_TRUE(l.tools->add_vif(l.domain, 0, "00:16:3e:00:00:09").has_value());
    l.back();
    EXPECT_EQ(l.back_state(), "2");
    ASSERT_TRUE(l.connect());
    EXPECT_TRUE(l.passes());
}

TEST(vif_event, restart_of_the_switch_with_live_guests)
{
    vif_lab l;
    ASSERT_TRUE(l.connect({.queues = 3, .control_ring = true}));
    EXPECT_TRUE(l.passes());
    for (int round = 0; round < 5; ++round) {
        l.restart();
        EXPECT_EQ(l.back_state(), "4") << "the guest sees nothing of it";
        EXPECT_EQ(l.front_state(), "4");
        EXPECT_TRUE(l.up());
        EXPECT_EQ(l.detail("taken_over"), "yes");
        EXPECT_TRUE(l.passes());
    }
    EXPECT_EQ(l.driver->counts().tx_okay, 18U);
}

// A guest's driver says what it wants of its hash once.
TEST(vif_event, restart_of_the_switch_keeps_what_the_guest_asked_of_its_hash)
{
    vif_lab l;
    ASSERT_TRUE(l.connect({.queues = 4, .control_ring = true}));
    EXPECT_EQ(l.get(l.back_path + "/hash"), "(none)");
    std::array<std::uint8_t, hash_config::max_key> key;
    std::iota(key.begin(), key.end(), std::uint8_t{1});
    const std::array<std::uint32_t, 3> table{3, 3, 3};
    std::atomic<bool> asked{false};
    std::thread guest{[&] {
        EXPECT_TRUE(l.driver->use_toeplitz(key, netif::hash_type::all, table, 10s).has_value());
        asked = true;
    }};
    while (!asked) {
        (void)l.vif_->look();
    }
    guest.join();
    const frame one = strait::test::ip_frame{.payload = 100}.build(false);
    const auto hash_of_one = [&] { // 0: it came without, or not by the queue of the table
        l.transmit({one});
        std::uint32_t hash = 0;
        l.driver->queue(3).receive(
            10, [&](const simulated::received_frame& f) { hash = f.hash_type == 0 ? 0 : f.hash; });
        return hash;
    };
    const std::uint32_t before = hash_of_one();
    EXPECT_NE(before, 0U);
    l.restart();
    EXPECT_EQ(l.detail("taken_over"), "yes");
    EXPECT_EQ(hash_of_one(), before) << "the same flow, so the same hash of the same key";
    // What cannot be read is not followed, and nobody but this device hears of it.
    const std::string kept = l.get(l.back_path + "/hash");
    for (const std::string& text :
         {std::string{}, std::string{"toeplitz"}, std::string{"toeplitz 0"}, "none" + kept,
          kept + "0", kept + "04", kept.substr(0, 60), kept + std::string(256, '0')}) {
        l.set(l.back_path + "/hash", text);
        l.restart();
        EXPECT_EQ(l.back_state(), "4") << text;
        EXPECT_EQ(hash_of_one(), 0U) << text;
        EXPECT_THAT(l.detail("features"), testing::Not(HasSubstr("toeplitz"))) << text;
    }
    // Another connection begins without.
    l.set(l.back_path + "/hash", kept);
    l.set(l.front_path + "/state", "6");
    l.back();
    l.driver.reset();
    ASSERT_TRUE(l.connect({.queues = 4, .control_ring = true}));
    EXPECT_EQ(l.get(l.back_path + "/hash"), "(none)");
    EXPECT_THAT(l.detail("features"), testing::Not(HasSubstr("toeplitz")));
}

TEST(vif_event, carrier_follows_the_port)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    EXPECT_EQ(l.get(l.back_path + "/carrier"), "1");
    l.vif_->set_carrier(false);
    (void)l.vif_->look();
    EXPECT_EQ(l.get(l.back_path + "/carrier"), "0");
    EXPECT_EQ(l.back_state(), "4") << "the rings stay";
    l.restart();
    (void)l.vif_->look();
    EXPECT_EQ(l.get(l.back_path + "/carrier"), "1") << "what this process was told, not the last";
    l.vif_->set_carrier(false);
    l.set(l.front_path + "/state", "6");
    l.back();
    l.set(l.front_path + "/state", "1");
    l.back();
    EXPECT_EQ(l.get(l.back_path + "/carrier"), "0") << "known before the driver connects";
}

TEST(vif_event, restart_of_the_switch_while_it_connects)
{
    vif_lab l;
    l.driver = std::make_unique<netfront>(*l.guest, netfront_options{});
    ASSERT_TRUE(l.driver->start().has_value());
    EXPECT_EQ(l.front_state() + l.back_state(), "42");
    l.restart();
    EXPECT_EQ(l.back_state(), "4");
    l.front();
    EXPECT_TRUE(l.passes());
    EXPECT_EQ(l.detail("taken_over"), "no");
}

TEST(vif_event, restart_of_the_switch_while_the_guest_is_closing)
{
    for (const char* const state : {"5", "6"}) {
        vif_lab l;
        ASSERT_TRUE(l.connect());
        l.set(l.front_path + "/state", state);
        l.restart();
        EXPECT_EQ(l.back_state(), state);
        EXPECT_FALSE(l.up());
    }
}

TEST(vif_event, restart_of_the_switch_while_the_guest_is_gone)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.kill_guest();
    ASSERT_TRUE(l.tools->destroy_domain(l.domain).has_value());
    l.restart();
    EXPECT_EQ(l.back_state(), "6");
}

TEST(vif_event, restart_of_the_switch_while_the_guest_reconfigures)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.set(l.front_path + "/xdp-headroom", "128");
    l.set(l.front_path + "/state", "7");
    l.restart();
    EXPECT_EQ(l.back_state(), "8");
    EXPECT_EQ(l.detail("taken_over"), "yes");
    l.restart(); // and once more, while it waits for the guest
    EXPECT_EQ(l.back_state(), "8");
    l.set(l.front_path + "/state", "4");
    l.back();
    EXPECT_EQ(l.back_state(), "4");
    l.restart();
    EXPECT_TRUE(l.passes());
}

TEST(vif_event, suspend_and_resume_elsewhere)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    // Here it is a destroy; there, fresh folders and a new handshake, as another domain.
    l.kill_guest();
    ASSERT_TRUE(l.tools->destroy_domain(l.domain).has_value());
    l.back();
    EXPECT_EQ(l.back_state(), "6");
    vif_lab there{9};
    ASSERT_TRUE(there.connect());
    EXPECT_TRUE(there.passes());
}

TEST(vif_event, a_cancelled_suspend_keeps_its_rings)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    const frame f = make_frame("02:00:00:00:00:01", "00:16:3e:00:00:01", 100);
    // While the guest does not run, what is sent to it waits in its ring.
    l.transmit({f, f});
    l.back();
    EXPECT_TRUE(l.up());
    ASSERT_TRUE(l.driver->resume_cancelled().has_value());
    std::size_t count = 0;
    l.driver->queue().receive(10, [&](const simulated::received_frame&) { ++count; });
    EXPECT_EQ(count, 2U);
    l.settle();
    EXPECT_TRUE(l.passes());
    EXPECT_EQ(l.detail("connections"), "1");
}

TEST(vif_event, a_guest_that_reboots_its_driver_without_a_word_connects_anew)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.set(l.front_path + "/state", "1"); // as after kexec
    l.back();
    EXPECT_EQ(l.back_state(), "2");
    EXPECT_FALSE(l.up());
    ASSERT_TRUE(l.connect());
    EXPECT_TRUE(l.passes());
}

TEST(vif_event, removal_of_the_port)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.vif_->detach();
    EXPECT_EQ(l.back_state(), "4") << "as a switch that ends leaves it";
    l.vif_->retire();
    EXPECT_EQ(l.back_state(), "6");
    l.front();
    EXPECT_EQ(l.front_state(), "6") << "the guest's driver sees it";
}

TEST(vif_event, removal_of_the_port_after_the_device)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.driver.reset();
    ASSERT_TRUE(l.tools->forget_vif(l.domain, 0).has_value());
    l.vif_->detach();
    l.vif_->retire();
    EXPECT_EQ(l.get(l.back_path), "(none)");
    EXPECT_EQ(l.get(l.back_path + "/state"), "(none)") << "it was brought back";
}

// ---- watches ----

TEST(vif_watch, many_changes_are_one_look)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    // Unbound and bound again before the back end has looked once: it sees a driver that waits.
    l.set(l.front_path + "/state", "5");
    l.set(l.front_path + "/state", "6");
    l.driver = std::make_unique<netfront>(*l.guest, netfront_options{});
    l.set(l.front_path + "/state", "1");
    l.back();
    EXPECT_EQ(l.back_state(), "2");
    l.settle();
    ASSERT_TRUE(l.connect());
    EXPECT_TRUE(l.passes());
}

TEST(vif_watch, looks_without_changes_do_nothing)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    for (int i = 0; i < 10; ++i) {
        l.back();
        EXPECT_EQ(l.back_state() + l.front_state(), "44");
    }
    EXPECT_TRUE(l.passes());
    EXPECT_EQ(l.detail("connections"), "1");
}

TEST(vif_watch, a_device_removed_and_made_again_at_once_is_a_new_one)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.driver.reset();
    ASSERT_TRUE(l.tools->forget_vif(l.domain, 0).has_value());
    ASSERT_TRUE(l.tools->add_vif(l.domain, 0, "00:16:3e:00:00:01").has_value());
    l.back();
    EXPECT_EQ(l.back_state(), "2");
    EXPECT_FALSE(l.up());
    ASSERT_TRUE(l.connect());
    EXPECT_TRUE(l.passes());
}

// ---- the store ----

TEST(vif_store, that_does_not_answer_changes_nothing)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.lab_.end_server();
    EXPECT_FALSE(l.vif_->evaluate());
    EXPECT_FALSE(l.vif_->evaluate());
    EXPECT_TRUE(l.up()) << "what it says of the guest, nobody knows";
    EXPECT_EQ(l.detail("frontend"), "connected");
}

TEST(vif_store, transactions_that_others_break_are_begun_again)
{
    simulated::faults f;
    f.rules.push_back({.on = operation::commit, .what = effect::fail, .count = 3});
    vif_lab l;
    l.lab_.server().set_faults(f);
    // The guest's own transaction is among those that fail.
    ASSERT_TRUE(l.connect());
    EXPECT_TRUE(l.passes());
}

TEST(vif_store, transactions_that_always_break_are_done_without)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    simulated::faults f;
    f.rules.push_back({.on = operation::commit, .what = effect::fail, .domain = domain_id{0}});
    l.lab_.server().set_faults(f);
    l.set(l.front_path + "/state", "1");
    l.back();
    EXPECT_EQ(l.back_state(), "2");
    EXPECT_EQ(l.get(l.back_path + "/feature-sg"), "1");
}

TEST(vif_store, a_folder_that_is_being_made_is_left_alone)
{
    vif_lab l;
    l.driver.reset();
    ASSERT_TRUE(l.tools->forget_vif(l.domain, 0).has_value());
    l.back();
    // A tool stack that writes one folder after the other.
    l.set(l.back_path + "/frontend", l.front_path);
    l.set(l.back_path + "/online", "1");
    l.set(l.back_path + "/state", "1");
    l.back();
    EXPECT_EQ(l.back_state(), "1");
    l.set(l.front_path + "/state", "1");
    l.back();
    EXPECT_EQ(l.back_state(), "2");
}

// ---- what is agreed ----

TEST(vif_features, are_announced)
{
    vif_lab l;
    for (const char* const key :
         {"feature-rx-copy", "feature-sg", "feature-gso-tcpv4", "feature-gso-tcpv6",
          "feature-ipv6-csum-offload", "feature-multicast-control", "feature-split-event-channels",
          "feature-ctrl-ring", "feature-xdp-headroom"}) {
        EXPECT_EQ(l.get(l.back_path + "/" + key), "1") << key;
    }
    // What a guest asks for is read when it connects, and not again.
    EXPECT_EQ(l.get(l.back_path + "/feature-dynamic-multicast-control"), "(none)");
    EXPECT_EQ(l.get(l.back_path + "/feature-rx-flip"), "0");
    EXPECT_EQ(l.get(l.back_path + "/multi-queue-max-queues"), "16");
    EXPECT_EQ(l.get(l.back_path + "/mtu"), "1500");
}

TEST(vif_features, follow_the_ports_settings)
{
    vif_lab l{3, {}, {.port = "vm1", .mtu = 9000, .queues = 2, .tsc_hz = tsc_hz}};
    EXPECT_EQ(l.get(l.back_path + "/multi-queue-max-queues"), "2");
    EXPECT_EQ(l.get(l.back_path + "/mtu"), "9000");
    ASSERT_TRUE(l.connect({.queues = 8}));
    EXPECT_EQ(l.driver->queues().size(), 2U);
    l.vif_->set_mtu(1400);
    l.set(l.front_path + "/state", "1");
    l.back();
    EXPECT_EQ(l.get(l.back_path + "/mtu"), "1400");
}

TEST(vif_features, of_every_kind_connect)
{
    const netfront_options all[] = {
        {},
        {.queues = 16},
        {.queues = 2, .split_channels = false},
        {.split_channels = false},
        {.scatter_gather = false, .gso_tcp_v4 = false, .gso_tcp_v6 = false},
        {.checksum = false, .checksum_ipv6 = false},
        {.queues = 4, .multicast_control = true, .control_ring = true, .headroom = 256},
        {.receive_buffers = 32},
    };
    vif_lab l;
    for (const auto& o : all) {
        ASSERT_TRUE(l.connect(o));
        EXPECT_TRUE(l.passes());
        EXPECT_EQ(l.driver->queues().size(), o.queues);
        ASSERT_TRUE(l.up());
        l.set(l.front_path + "/state", "6");
        l.back();
        l.driver.reset();
        l.set(l.front_path + "/state", "1");
        l.back();
    }
}

TEST(vif_features, are_shown)
{
    vif_lab l;
    EXPECT_EQ(l.detail("frontend"), "initialising");
    EXPECT_EQ(l.detail("backend"), "waiting");
    EXPECT_EQ(l.detail("domain"), "3");
    EXPECT_EQ(l.detail("handle"), "0");
    EXPECT_EQ(l.detail("hypervisor"), "simulated");
    ASSERT_TRUE(l.connect({.queues = 2, .control_ring = true, .headroom = 256}));
    EXPECT_EQ(l.detail("frontend"), "connected");
    EXPECT_EQ(l.detail("backend"), "connected");
    EXPECT_EQ(l.detail("features"), "sg, csum_ipv4, csum_ipv6, gso_tcpv4, gso_tcpv6, "
                                    "split_event_channels, ctrl_ring, xdp_headroom");
    EXPECT_TRUE(l.passes());
    EXPECT_THAT(l.detail("rings"), HasSubstr("tx 1"));
    l.set(l.front_path + "/state", "6");
    l.back();
    l.set(l.front_path + "/state", "1");
    l.back();
    ASSERT_TRUE(l.connect({.split_channels = false,
                           .scatter_gather = false,
                           .checksum = false,
                           .checksum_ipv6 = false,
                           .multicast_control = true}));
    EXPECT_EQ(l.detail("features"), "multicast_control")
        << "segments that lie in one page are no segments";
}

TEST(vif_features, headroom_changes_while_connected)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.set(l.front_path + "/xdp-headroom", "192");
    l.set(l.front_path + "/state", "7");
    l.back();
    EXPECT_EQ(l.back_state(), "8");
    l.set(l.front_path + "/state", "4");
    l.back();
    EXPECT_EQ(l.back_state(), "4");
    const frame f = make_frame("00:16:3e:00:00:01", "02:00:00:00:00:01", 100);
    l.transmit({f});
    std::uint16_t headroom = 0;
    l.driver->queue().receive(1,
                              [&](const simulated::received_frame& r) { headroom = r.headroom; });
    EXPECT_EQ(headroom, 192U);
    EXPECT_EQ(l.detail("connections"), "1");
}

TEST(vif_features, headroom_is_half_a_page_at_most)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    const auto headroom = [&] {
        l.transmit({make_frame("00:16:3e:00:00:01", "02:00:00:00:00:01", 100)});
        std::uint16_t got = 0;
        l.driver->queue().receive(1, [&](const simulated::received_frame& r) { got = r.headroom; });
        return got;
    };
    l.set(l.front_path + "/xdp-headroom", "4294967295");
    l.set(l.front_path + "/state", "7");
    l.back();
    l.set(l.front_path + "/state", "4");
    l.back();
    EXPECT_EQ(headroom(), 2048U);
    l.restart(); // it is read anew, with the rings
    EXPECT_EQ(headroom(), 2048U);
}

TEST(vif_features, the_rate_of_the_tool_stack_is_kept)
{
    vif_lab l{3, {.rate = simulated::vif_options::limit{.bytes = 2000, .interval_us = 50'000}}};
    ASSERT_TRUE(l.connect());
    l.worker.step = 0;
    const frame f = make_frame("02:00:00:00:00:01", "00:16:3e:00:00:01", 1000);
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(l.driver->queue().send({.bytes = as_bytes(f)}));
    }
    l.driver->queue().publish_sent();
    EXPECT_EQ(l.poll().size(), 4U) << "what it has in store, and an interval's";
    EXPECT_TRUE(l.poll().empty());
    l.worker.now += tsc_hz / 20;
    EXPECT_EQ(l.poll().size(), 2U);
}

TEST(vif_features, a_rate_that_is_none_is_no_limit)
{
    for (const char* const rate :
         {"", "1000", "1000,", ",1000", "1000,x", "x,1000", "-1,5", "1000,99999999999999999999",
          "1000,10000000001", "1000,5x", "1000,5 ", "1000;5", "1000,0", "0,1000"}) {
        vif_lab l;
        l.set(l.back_path + "/rate", rate);
        ASSERT_TRUE(l.connect()) << rate;
        const frame f = make_frame("02:00:00:00:00:01", "00:16:3e:00:00:01", 1500);
        l.worker.step = 0;
        for (int i = 0; i < 60; ++i) {
            ASSERT_TRUE(l.driver->queue().send({.bytes = as_bytes(f)}));
        }
        l.driver->queue().publish_sent();
        EXPECT_EQ(l.poll().size(), 60U) << rate;
    }
}

// ---- frontends that write what none writes ----

using keys = std::map<std::string, std::string>;

// The keys of a driver that is fine, state 4 last; `change` makes of them what it likes.
std::unique_ptr<simulated::netfront_queue> write_frontend(vif_lab& l,
                                                          const std::function<void(keys&)>& change)
{
    auto q = simulated::netfront_queue::make(*l.guest, {.backend = domain_id{0}}).value();
    const auto text = [](auto number) {
        return std::to_string(static_cast<std::uint32_t>(number));
    };
    keys all{{"tx-ring-ref", text(q->tx_ring_ref())},
             {"rx-ring-ref", text(q->rx_ring_ref())},
             {"event-channel-tx", text(q->tx_port())},
             {"event-channel-rx", text(q->rx_port())},
             {"request-rx-copy", "1"},
             {"feature-sg", "1"},
             {"state", "4"}};
    change(all);
    for (const auto& [key, value] : all) {
        EXPECT_TRUE(l.guest->store().write("device/vif/0/" + key, value).has_value()) << key;
    }
    for (int i = 0; i < 3; ++i) {
        l.back();
    }
    return q;
}

struct strange {
    const char* name;
    std::function<void(keys&)> change;
    const char* why; // in last_error; null: it connects all the same
};

class strange_frontend : public testing::TestWithParam<strange> {};

TEST_P(strange_frontend, is_refused_with_a_reason_and_may_come_back)
{
    vif_lab l;
    const auto q = write_frontend(l, GetParam().change);
    if (GetParam().why == nullptr) {
        EXPECT_TRUE(l.up()) << l.detail("last_error");
        return;
    }
    EXPECT_FALSE(l.up());
    EXPECT_EQ(l.back_state(), "5");
    EXPECT_THAT(l.detail("last_error"), HasSubstr(GetParam().why));
    // Once it leaves that state, all is as at the beginning.
    l.set(l.front_path + "/state", "6");
    l.back();
    EXPECT_EQ(l.back_state(), "6");
    l.set(l.front_path + "/state", "1");
    l.back();
    ASSERT_TRUE(l.connect());
    EXPECT_TRUE(l.passes());
}

const std::string huge(2000, '9');
const std::string binary{"\x01\x00\xff\xfe 4\n", 7};

INSTANTIATE_TEST_SUITE_P(
    values, strange_frontend,
    testing::Values(
        strange{"no_rx_copy", [](keys& k) { k.erase("request-rx-copy"); }, "request-rx-copy"},
        strange{"rx_copy_two", [](keys& k) { k["request-rx-copy"] = "2"; }, "request-rx-copy"},
        strange{"rx_copy_zero", [](keys& k) { k["request-rx-copy"] = "0"; }, "request-rx-copy"},
        strange{"no_tx_ring", [](keys& k) { k.erase("tx-ring-ref"); }, "tx-ring-ref"},
        strange{"no_rx_ring", [](keys& k) { k.erase("rx-ring-ref"); }, "rx-ring-ref"},
        strange{"no_channel",
                [](keys& k) {
                    k.erase("event-channel-tx");
                    k.erase("event-channel-rx");
                },
                "no event channel"},
        strange{"half_a_channel", [](keys& k) { k.erase("event-channel-rx"); }, "no event channel"},
        strange{"one_channel_twice", [](keys& k) { k["event-channel-rx"] = k["event-channel-tx"]; },
                "event channel cannot be bound"},
        strange{"channel_never_offered", [](keys& k) { k["event-channel-tx"] = "4000"; },
                "event channel cannot be bound"},
        strange{"ring_never_granted", [](keys& k) { k["tx-ring-ref"] = "32000"; },
                "rings cannot be mapped"},
        strange{"ring_beyond_the_table", [](keys& k) { k["rx-ring-ref"] = "4294967295"; },
                "rings cannot be mapped"},
        strange{"ring_reserved", [](keys& k) { k["tx-ring-ref"] = "0"; }, "rings cannot be mapped"},
        strange{"ref_too_big_for_a_number", [](keys& k) { k["tx-ring-ref"] = "4294967296"; },
                "tx-ring-ref"},
        strange{"ref_negative", [](keys& k) { k["tx-ring-ref"] = "-8"; }, "tx-ring-ref"},
        strange{"ref_with_more_behind", [](keys& k) { k["tx-ring-ref"] += " "; }, "tx-ring-ref"},
        strange{"ref_huge", [](keys& k) { k["tx-ring-ref"] = huge; }, "tx-ring-ref"},
        strange{"ref_binary", [](keys& k) { k["tx-ring-ref"] = binary; }, "tx-ring-ref"},
        strange{"ref_empty", [](keys& k) { k["tx-ring-ref"] = ""; }, "tx-ring-ref"},
        strange{"no_queues", [](keys& k) { k["multi-queue-num-queues"] = "0"; }, "\"0\" queues"},
        strange{"too_many_queues", [](keys& k) { k["multi-queue-num-queues"] = "17"; },
                "\"17\" queues"},
        strange{"queues_huge", [](keys& k) { k["multi-queue-num-queues"] = huge; },
                "\"9999999999999999\" queues"},
        strange{"queues_negative", [](keys& k) { k["multi-queue-num-queues"] = "-1"; },
                "\"-1\" queues"},
        strange{"queues_without_their_folders", [](keys& k) { k["multi-queue-num-queues"] = "2"; },
                "tx-ring-ref"},
        strange{"control_ring_never_granted",
                [](keys& k) {
                    k["ctrl-ring-ref"] = "32000";
                    k["event-channel-ctrl"] = "1";
                },
                "control ring cannot be mapped"},
        strange{"control_channel_never_offered",
                [](keys& k) {
                    k["ctrl-ring-ref"] = k["tx-ring-ref"];
                    k["event-channel-ctrl"] = "4000";
                },
                "control ring's event channel cannot be bound"},
        strange{"both_rings_one_page", [](keys& k) { k["rx-ring-ref"] = k["tx-ring-ref"]; },
                nullptr},
        strange{"headroom_huge", [](keys& k) { k["xdp-headroom"] = "4294967295"; }, nullptr},
        strange{"headroom_binary", [](keys& k) { k["xdp-headroom"] = binary; }, nullptr},
        strange{"features_of_other_values",
                [](keys& k) {
                    k["feature-sg"] = "2";
                    k["feature-gso-tcpv4"] = binary;
                    k["request-multicast-control"] = huge.substr(0, 1900);
                },
                nullptr},
        strange{"control_ring_without_a_channel", [](keys& k) { k["ctrl-ring-ref"] = "32000"; },
                nullptr}),
    [](const auto& value) { return std::string{value.param.name}; });

TEST(vif_frontend, of_any_state_is_tolerated)
{
    vif_lab l;
    const std::vector<std::string> states{"0",    "3",
                                          "8",    "9",
                                          "255",  "-1",
                                          "",     "four",
                                          "4 ",   " 4",
                                          "04",   "18446744073709551620",
                                          binary, std::string(1500, '4'),
                                          "2",    "7",
                                          "5",    "6"};
    for (const std::string& state : states) {
        ASSERT_TRUE(l.guest->store().write("device/vif/0/state", state).has_value());
        l.back();
        l.back();
        EXPECT_FALSE(l.up()) << state;
        EXPECT_NE(l.back_state(), "4") << state;
    }
    // Its low byte is "connected".
    ASSERT_TRUE(l.guest->store().write("device/vif/0/state", "260").has_value());
    l.back();
    EXPECT_NE(l.detail("frontend"), "connected");
    ASSERT_TRUE(l.tools->store().write(l.front_path + "/state", "1").has_value());
    l.back();
    ASSERT_TRUE(l.connect());
    EXPECT_TRUE(l.passes());
}

TEST(vif_frontend, of_every_state_while_connected_is_survived)
{
    for (const char* const state : {"0", "2", "3", "8", "99", "", "x"}) {
        vif_lab l;
        ASSERT_TRUE(l.connect());
        ASSERT_TRUE(l.guest->store().write("device/vif/0/state", state).has_value());
        l.back();
        ASSERT_TRUE(l.guest->store().remove("device/vif/0/state").has_value());
        l.back();
        EXPECT_FALSE(l.up());
        l.set(l.front_path + "/state", "1");
        l.back();
        ASSERT_TRUE(l.connect()) << state;
        EXPECT_TRUE(l.passes());
    }
}

TEST(vif_frontend, whose_ring_is_broken_is_given_up_until_its_driver_starts_anew)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.driver->queue().tx().field(netif::ring_field::req_prod).store(9999);
    EXPECT_TRUE(l.poll().empty());
    l.back();
    EXPECT_FALSE(l.up());
    EXPECT_EQ(l.back_state(), "5");
    EXPECT_EQ(l.detail("last_error"), fault_text::index);
    EXPECT_TRUE(l.driver->queue().revoke_all());
    l.back();
    l.back();
    EXPECT_EQ(l.back_state(), "5")
        << "while it says that it is connected, it is not connected again";
    l.front();
    EXPECT_EQ(l.front_state(), "6");
    l.back();
    EXPECT_EQ(l.back_state(), "6");
    l.set(l.front_path + "/state", "1");
    l.back();
    ASSERT_TRUE(l.connect());
    EXPECT_TRUE(l.passes());
}

TEST(vif_frontend, whose_ring_looks_whole_again_is_still_given_up)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    auto producer = l.driver->queue().tx().field(netif::ring_field::req_prod);
    const std::uint32_t before = producer.load();
    producer.store(9999);
    EXPECT_TRUE(l.poll().empty());
    l.back();
    EXPECT_EQ(l.back_state(), "5");
    producer.store(before);
    l.back();
    l.back();
    EXPECT_FALSE(l.up());
    EXPECT_EQ(l.back_state(), "5");
    EXPECT_EQ(l.detail("connections"), "1");
}

TEST(vif_frontend, whose_receive_ring_is_broken_is_given_up)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.driver->queue().rx().field(netif::ring_field::req_prod).store(0x8000'0000);
    l.transmit({make_frame("00:16:3e:00:00:01", "02:00:00:00:00:01", 100)});
    l.back();
    EXPECT_EQ(l.back_state(), "5");
    EXPECT_EQ(l.worker.drops(drop_reason::receiver_malformed), 1U);
}

TEST(vif_frontend, whose_control_ring_is_broken_is_given_up)
{
    vif_lab l;
    std::byte* const page = l.guest->allocate().value();
    simulated::control_front_ring ring{page};
    const auto ref = l.guest->grant(domain_id{0}, page).value();
    const auto channel = l.guest->offer(domain_id{0}).value();
    const auto q = write_frontend(l, [&](keys& k) {
        k["ctrl-ring-ref"] = std::to_string(static_cast<std::uint32_t>(ref));
        k["event-channel-ctrl"] = std::to_string(static_cast<std::uint32_t>(channel.port));
    });
    ASSERT_TRUE(l.up());
    EXPECT_GE(l.vif_->control_descriptor(), 0);
    ring.field(netif::ring_field::req_prod).store(9999);
    l.back();
    EXPECT_EQ(l.back_state(), "5");
    EXPECT_EQ(l.detail("last_error"), fault_text::index);
    EXPECT_EQ(l.vif_->control_descriptor(), -1);
}

TEST(vif_frontend, whose_ring_is_broken_when_it_is_taken_over_is_given_up)
{
    for (const bool receive : {false, true}) {
        vif_lab l;
        ASSERT_TRUE(l.connect());
        auto& q = l.driver->queue();
        (receive ? q.rx().field(netif::ring_field::req_prod)
                 : q.tx().field(netif::ring_field::req_prod))
            .store(9999);
        l.restart();
        EXPECT_FALSE(l.up());
        EXPECT_EQ(l.back_state(), "5");
        EXPECT_THAT(l.detail("last_error"), HasSubstr("more requests than it has slots"));
    }
}

TEST(vif_frontend, of_a_device_that_was_taken_away_is_not_connected)
{
    vif_lab l;
    l.set(l.back_path + "/online", "0");
    l.set(l.back_path + "/state", "5");
    const auto q = write_frontend(l, [](keys&) {});
    EXPECT_FALSE(l.up());
    EXPECT_EQ(l.back_state(), "5");
    EXPECT_TRUE(q->revoke_all());
}

TEST(vif_frontend, that_closes_once_more_leaves_it_closed)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    l.set(l.front_path + "/state", "6");
    l.back();
    EXPECT_EQ(l.back_state(), "6");
    l.set(l.front_path + "/state", "5");
    l.back();
    EXPECT_EQ(l.back_state(), "6");
}

TEST(vif_frontend, that_is_taken_over_gets_every_multicast)
{
    vif_lab l;
    ASSERT_TRUE(l.connect({.multicast_control = true}));
    const frame f = make_frame("33:33:00:00:00:01", "02:00:00:00:00:01", 100);
    l.transmit({f});
    EXPECT_EQ(l.worker.drops(drop_reason::multicast_unwanted), 1U);
    l.restart(); // what it wanted, it told another process
    l.transmit({f});
    EXPECT_EQ(l.worker.drops(drop_reason::multicast_unwanted), 1U);
}

// ---- guests that vanish ----

TEST(vif_guest, that_vanishes_at_any_step_of_the_handshake_leaves_nothing)
{
    // Steps of both sides until they are connected, and some more; after each, the guest is gone.
    const std::vector<std::function<void(vif_lab&)>> steps{
        [](vif_lab& l) { l.driver = std::make_unique<netfront>(*l.guest, netfront_options{}); },
        [](vif_lab& l) { l.set(l.front_path + "/state", "1"); },
        [](vif_lab& l) { ASSERT_TRUE(l.driver->start().has_value()); },
        [](vif_lab& l) { l.back(); },
        [](vif_lab& l) { l.front(); },
        [](vif_lab& l) { EXPECT_TRUE(l.passes()); },
        [](vif_lab& l) { l.set(l.front_path + "/state", "5"); },
        [](vif_lab& l) { l.back(); },
        [](vif_lab& l) { l.set(l.front_path + "/state", "6"); },
        [](vif_lab& l) { l.back(); }};
    for (const bool folder_too : {false, true}) {
        for (std::size_t last = 0; last <= steps.size(); ++last) {
            vif_lab l;
            for (std::size_t i = 0; i < last; ++i) {
                steps[i](l);
            }
            l.kill_guest();
            if (folder_too) {
                ASSERT_TRUE(l.tools->destroy_domain(l.domain).has_value());
            }
            l.back();
            l.back();
            // Frames to it and polls of it are as harmless as before.
            (void)l.poll();
            l.transmit({make_frame("00:16:3e:00:00:01", "02:00:00:00:00:01", 100)});
            ASSERT_TRUE(l.tools->destroy_domain(l.domain).has_value());
            l.back();
            EXPECT_EQ(l.back_state(), "6") << "after step " << last;
            EXPECT_FALSE(l.up());
        }
    }
}

TEST(vif_guest, that_vanishes_amid_a_burst_costs_its_own_frames)
{
    vif_lab l;
    ASSERT_TRUE(l.connect());
    const frame f = make_frame("02:00:00:00:00:01", "00:16:3e:00:00:01", 3000);
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(l.driver->queue().send({.bytes = as_bytes(f)}));
    }
    l.driver->queue().publish_sent();
    l.worker.burst->clear();
    ASSERT_EQ(l.queue->receive(*l.worker.burst, l.worker.context()), ports::rx_queue::poll::taken);
    l.kill_guest();
    ASSERT_TRUE(simulated::test::eventually([&] { return l.lab_.server().domains() == 0; }));
    for (auto& p : l.worker.burst->packets()) {
        frame bytes(p.length);
        EXPECT_FALSE(dataplane::copy_frame(p, 0, bytes.data(), bytes.size()));
    }
    l.queue->release(*l.worker.burst, l.worker.context());
    l.worker.notifications.flush();
    l.transmit({f});
    EXPECT_EQ(l.worker.drops(drop_reason::copy_failed), 1U);
}

// ---- grants and channels that fail ----

TEST(vif_fault, a_map_or_bind_that_fails_is_an_error_for_people)
{
    for (const operation on : {operation::map, operation::bind}) {
        for (std::uint64_t skip = 0; skip < 4; ++skip) {
            vif_lab l;
            simulated::faults f;
            f.rules.push_back({.on = on, .what = effect::fail, .skip = skip, .count = 1});
            l.hypervisor->set_faults(f);
            l.driver = std::make_unique<netfront>(
                *l.guest, netfront_options{.queues = 2, .control_ring = true});
            ASSERT_TRUE(l.driver->start().has_value());
            l.back();
            if (l.up()) {
                EXPECT_EQ(on, operation::map) << "there are three mappings and five channels";
                EXPECT_EQ(skip, 3U);
                continue;
            }
            EXPECT_EQ(l.back_state(), "5");
            EXPECT_THAT(l.detail("last_error"), HasSubstr("fails by configuration"));
            // Nothing of what was mapped before is in use any more.
            for (const auto& q : l.driver->queues()) {
                EXPECT_TRUE(q->revoke_all());
            }
        }
    }
}

} // namespace
} // namespace strait::xen::test
