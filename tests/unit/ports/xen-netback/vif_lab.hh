// SPDX-License-Identifier: BSD-3-Clause
// One vif of the back end and its guest, in one thread: each side does a step when the test says
// so, and what stands in the store in between can be looked at.
#pragma once

#include "tests/unit/ports/xen-netback/ring_lab.hh"

#include "ports/xen-netback/simulated/netfront.hh"
#include "ports/xen-netback/vif.hh"

#include <memory>
#include <string>

namespace strait::xen::test {

using simulated::netfront;
using simulated::netfront_options;

class vif_lab {
public:
    explicit vif_lab(std::uint16_t domain = 3, simulated::vif_options tool_options = {},
                     vif_settings settings = {.port = "vm1", .mtu = 1500, .tsc_hz = tsc_hz});
    ~vif_lab();

    // ---- steps ----

    // The back end hears of all that changed.
    void back();
    // The front end does.
    void front();
    // Both, until nothing changes any more.
    void settle();
    // A driver with these options, connected. False: it did not come to that.
    bool connect(netfront_options o = {});
    // The back end's process ends as if killed, and another serves the vif.
    void restart();
    // The guest's process ends; the tool stack has not yet noticed.
    void kill_guest();

    // ---- what there is ----

    [[nodiscard]] std::string get(const std::string& path); // "(none)": no such node
    void set(const std::string& path, const std::string& value);
    [[nodiscard]] std::string back_state() { return get(back_path + "/state"); }
    [[nodiscard]] std::string front_state() { return get(front_path + "/state"); }
    [[nodiscard]] std::string detail(std::string_view name) const;
    [[nodiscard]] bool up() const { return vif_->link_up(); }
    // Frames go through in both directions, by every queue.
    [[nodiscard]] testing::AssertionResult passes();
    // As one process has it: what was taken from the guest.
    std::vector<frame> poll();
    void transmit(const std::vector<frame>& frames);

    lab lab_;
    const domain_id domain;
    const std::string front_path;
    const std::string back_path;
    std::unique_ptr<simulated::tool_stack> tools;
    std::unique_ptr<simulated::simulated_guest> guest;
    std::unique_ptr<netfront> driver;
    std::unique_ptr<simulated::simulated_hypervisor> hypervisor;
    dataplane::rcu_domain rcu;
    std::unique_ptr<xen::queue> queue;
    std::unique_ptr<vif> vif_;
    worker_side worker;
    simulated::vif_options tool_options;

private:
    void serve();
    const vif_settings settings_;
};

} // namespace strait::xen::test
