// SPDX-License-Identifier: BSD-3-Clause
// A switch in the test's process that serves simulated guests: workers, the back end's thread, a
// bridge with a port for each vif; and guests that the test drives.
#pragma once

#include "tests/unit/ports/xen-netback/ring_lab.hh"

#include "dataplane/engine.hh"
#include "ports/xen-netback/netback.hh"
#include "ports/xen-netback/simulated/netfront.hh"

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace strait::xen::test {

using simulated::netfront;
using simulated::netfront_options;
using simulated::simulated_guest;
using simulated::tool_stack;
using simulated::test::eventually;

inline constexpr std::chrono::milliseconds patience{10'000};

// A domain with vif 0, made by the tool stack, and its driver. MAC address 00:16:3e:00:00:ID.
class live_guest {
public:
    live_guest(lab& l, tool_stack& t, std::uint16_t id, netfront_options o = {},
               simulated::vif_options v = {});
    ~live_guest();
    live_guest(const live_guest&) = delete;
    live_guest& operator=(const live_guest&) = delete;

    [[nodiscard]] vif_id vif() const { return {domain_, 0}; }
    [[nodiscard]] std::string mac() const;
    // The driver, started and connected.
    [[nodiscard]] testing::AssertionResult connect();
    [[nodiscard]] netfront& driver() { return *driver_; }
    [[nodiscard]] simulated_guest& domain() { return *guest_; }
    // The process ends.
    void kill();
    // What its driver's interrupts do: answers and frames are taken.
    void pump();
    // False: the ring has no room.
    [[nodiscard]] bool send(const frame& f, simulated::frame_extras e = {}, std::size_t queue = 0);

    struct arrival {
        frame bytes;
        simulated::frame_extras extras;
    };
    std::vector<arrival> received;

private:
    const domain_id domain_;
    const netfront_options options_;
    std::unique_ptr<simulated_guest> guest_;
    std::unique_ptr<netfront> driver_;
};

// From a's to b's address.
[[nodiscard]] frame make_frame_between(const live_guest& a, const live_guest& b, std::size_t size,
                                       std::uint8_t seed = 1);

class xen_switch {
public:
    explicit xen_switch(lab& l, unsigned workers = 1);
    // As a process that ends: guests' states stay as they are.
    ~xen_switch();
    // The same, but what was counted can still be read, and grows no more.
    void stop();
    xen_switch(const xen_switch&) = delete;
    xen_switch& operator=(const xen_switch&) = delete;

    // A port for it, in the bridge; its worker is one of the switch's, in turn. Returns its index.
    unsigned add(vif_id id, std::uint32_t mtu = 9000, std::uint32_t queues = max_queues);
    // For good.
    void remove(unsigned port);

    [[nodiscard]] xen::backend& backend() { return *backend_; }
    [[nodiscard]] simulated::simulated_hypervisor& hypervisor() { return *hypervisor_; }
    [[nodiscard]] dataplane::engine& engine() { return *engine_; }
    [[nodiscard]] ports::port& port(unsigned i) { return *ports_[i]; }
    [[nodiscard]] std::string detail(unsigned port, std::string_view name) const;
    [[nodiscard]] std::uint64_t drops(unsigned port, dataplane::drop_reason r) const;
    [[nodiscard]] std::uint64_t all_drops(unsigned port) const;
    [[nodiscard]] std::uint64_t tx_packets(unsigned port) const;
    [[nodiscard]] std::uint64_t rx_packets(unsigned port) const;

    // Mbufs that packets own now.
    [[nodiscard]] static unsigned mbufs_in_use();

private:
    void publish();
    template <typename Read>
    [[nodiscard]] std::uint64_t sum(unsigned port, Read&& read) const;

    simulated::simulated_hypervisor* hypervisor_;
    std::unique_ptr<xen::backend> backend_;
    std::unique_ptr<dataplane::engine> engine_;
    std::shared_ptr<dataplane::mac_table> macs_;
    std::vector<std::unique_ptr<ports::port>> ports_;
    std::vector<std::uint32_t> mtus_;
    std::vector<std::uint32_t> incarnations_;
    std::uint32_t last_incarnation_{0};
};

// What a port shows under that name, as text; "" if it does not.
[[nodiscard]] std::string
detail_of(const std::vector<std::pair<std::string, ports::port_detail>>& all,
          std::string_view name);

// Every frame from one to the other arrives, in order, each once; both ways.
[[nodiscard]] testing::AssertionResult talk(live_guest& a, live_guest& b, unsigned count = 50);

} // namespace strait::xen::test
