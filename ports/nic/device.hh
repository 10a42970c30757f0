// SPDX-License-Identifier: BSD-3-Clause
// A DPDK Ethernet device from hot-plug to removal: what is asked of it (devargs), its ethdev
// number, and errors a person can act on. How it is configured and polled is nic.cc's.
#pragma once

#include "dataplane/types.hh"
#include "ports/error.hh"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct rte_ether_addr;

namespace strait::nic {

// For EAL's allow list (-a): nothing is probed, any device can be plugged in later. DPDK has no
// option that says so (--no-pci forbids both), but a list whose only address no device can have. To
// Linux this domain, -1, means that there is none.
inline constexpr const char* no_device = "ffffffff:ff:1f.7";

// Drivers whose limits differ from what they say of themselves.
enum class driver : std::uint8_t { tap, af_packet, pcap, null_device, bond, other };

// Whether what their drivers say of themselves is so.
constexpr bool are_as_said(driver d) noexcept
{
    return d == driver::other || d == driver::bond;
}

// Devargs taken apart: "net_tap0,iface=tap0".
struct device_request {
    std::string name; // of the device: "net_tap0", "0000:03:00.0"
    bool is_virtual;  // on the vdev bus; otherwise PCI
    driver kind;
    std::vector<std::pair<std::string, std::string>> arguments; // in the order given

    [[nodiscard]] std::optional<std::string_view> argument(std::string_view key) const;
    void set_argument(std::string_view key, std::string value);
    [[nodiscard]] std::string arguments_text() const; // "iface=tap0,mac=…"
};

// Checks what can be checked before the device is opened. Errors: unknown driver, an argument that
// it does not take, no such PCI device, one that a kernel driver holds.
[[nodiscard]] ports::result<device_request> parse_device(const std::string& devargs);

// Whether there is such a device, bound to a driver that gives it to programs, and can reach memory
// at the addresses that EAL was started for.
[[nodiscard]] ports::result<void> check_pci(const std::string& address);
// Whether a PCI device is bound to a driver that puts no IOMMU before it, so that it works at
// physical addresses, and has no descriptors for its queues' interrupts.
[[nodiscard]] bool is_under_uio(const std::string& address);

// Removes its device when it is destroyed: stopped, closed, unplugged. Control thread only.
class device {
public:
    device(device&& other) noexcept;
    device& operator=(device&&) = delete;
    ~device();

    // Errors: the driver's own reason, as it logged it; a device of several Ethernet ports.
    [[nodiscard]] static ports::result<device> plug(const device_request& request);
    // Of one that was made otherwise.
    [[nodiscard]] static device of(std::string name, bool is_virtual, std::uint16_t port_id)
    {
        return device{std::move(name), is_virtual, port_id};
    }

    [[nodiscard]] std::uint16_t port_id() const noexcept { return port_id_; }
    // Whether its bus asked for it, to unplug it; it waits for the destructor then.
    [[nodiscard]] bool is_asked_for() const noexcept { return *is_asked_for_; }

private:
    device(std::string name, bool is_virtual, std::uint16_t port_id);

    std::string name_;
    bool is_virtual_;
    std::uint16_t port_id_;
    std::unique_ptr<std::atomic<bool>> is_asked_for_{new std::atomic<bool>{false}};
};

// L3 MTUs that a device can have, by what its driver says, and as ethdev keeps it to that.
struct mtu_range {
    std::uint32_t least;
    std::uint32_t most;
};
[[nodiscard]] mtu_range mtus_of(std::uint16_t port_id) noexcept;
// "device WHOSE cannot do an MTU of 9000: it does 68 to 1500", if it is so.
[[nodiscard]] ports::result<void> check_mtu(const std::string& whose, std::uint16_t port_id,
                                            std::uint32_t mtu);

[[nodiscard]] dataplane::mac_address to_mac(const rte_ether_addr& address) noexcept;
// "02:00:00:00:00:01".
[[nodiscard]] std::string to_text(const rte_ether_addr& address);

// Reads along with what DPDK logs while it lives. One at a time, control thread only.
class log_capture {
public:
    // `hold`: what this thread logs is written when the capture ends, unless it was dismissed.
    explicit log_capture(bool hold = false);
    ~log_capture();
    log_capture(const log_capture&) = delete;
    log_capture& operator=(const log_capture&) = delete;

    // The first warning or error since the capture began, without the function's name and the
    // final newline; empty if there was none.
    [[nodiscard]] std::string first_complaint() const;
    // All went well: what was held need not be said.
    void dismiss();
};

// "driver's complaint" or, if it logged nothing, what the error number means.
[[nodiscard]] std::string cause(const log_capture& log, int negative_errno);
// "device NAME WHAT: cause", and its arguments where the driver logged nothing.
[[nodiscard]] ports::error refused_by_driver(const device_request& request, std::string_view what,
                                             const log_capture& log, int negative_errno);

} // namespace strait::nic
