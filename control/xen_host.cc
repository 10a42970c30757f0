// SPDX-License-Identifier: BSD-3-Clause
// libxen where there is Xen, the simulated hypervisor where it is asked for.
#include "control/xen_host.hh"

#include "control/log.hh"
#include "ports/xen-netback/libxen.hh"
#include "ports/xen-netback/simulated/simulated_hypervisor.hh"

#include <string_view>
#include <utility>

#include <unistd.h>

namespace strait::control {

namespace {

constexpr std::string_view simulated = "simulated:";

ports::result<xen_host> with(ports::result<std::unique_ptr<xen::hypervisor>> h)
{
    if (h.has_error()) {
        return h.error();
    }
    auto b = xen::backend::open(std::move(*h));
    if (b.has_error()) {
        return b.error();
    }
    return xen_host{std::move(*b), {}};
}

} // namespace

bool is_xen_choice(const std::string& choice) noexcept
{
    return choice == "auto" || choice == "off" || choice == "libxen" ||
           (choice.starts_with(simulated) && choice.size() > simulated.size());
}

ports::result<xen_host> open_xen(const std::string& choice)
{
    if (choice == "off") {
        return xen_host{nullptr, "straitd was started with --xen off"};
    }
    if (choice.starts_with(simulated)) {
        auto h = xen::simulated::simulated_hypervisor::connect(choice.substr(simulated.size()),
                                                               xen::domain_id{0});
        if (h.has_error()) {
            return ports::error{"--xen " + choice + ": " + h.error().message};
        }
        return with(std::unique_ptr<xen::hypervisor>{std::move(*h)});
    }
    if (choice == "libxen") {
        auto host = with(xen::open_libxen());
        if (host.has_error()) {
            return ports::error{"--xen libxen: " + host.error().message};
        }
        return host;
    }
    if (!xen::runs_on_xen()) {
        return xen_host{nullptr, "this host is no Xen domain that can serve guests: "
                                 "/dev/xen/gntdev, evtchn or xenbus is missing"};
    }
    auto host = with(xen::open_libxen());
    if (host.has_error()) {
        log(log_level::warning, "xen", "no Xen guests are served: " + host.error().message);
        return xen_host{nullptr, host.error().message};
    }
    return host;
}

std::string xen_obstacle(const xen::backend& b)
{
    if (b.get_hypervisor().name() == "libxen" && ::access("/sys/module/xen_netback", F_OK) == 0) {
        return "the kernel's xen-netback is loaded and takes every vif of this domain; remove it "
               "(rmmod xen_netback) and keep it from being loaded again (blacklist xen-netback in "
               "/etc/modprobe.d)";
    }
    return {};
}

} // namespace strait::control
