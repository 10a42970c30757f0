// SPDX-License-Identifier: BSD-3-Clause
// A guest's network device: the front end of a vif that behaves as Linux's driver does, from its
// folder in the store to its queues. Frames are netfront_queue.hh's.
#pragma once

#include "ports/xen-netback/simulated/netfront_queue.hh"
#include "ports/xen-netback/xenbus.hh"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace strait::xen::simulated {

// What the driver can do, and says so; but for the first two it is about what it receives.
struct netfront_options {
    unsigned handle{0};
    std::uint32_t queues{1}; // wanted; the back end may offer fewer
    bool split_channels{true};
    bool scatter_gather{true};
    bool gso_tcp_v4{true};
    bool gso_tcp_v6{true};
    bool checksum{true};
    bool checksum_ipv6{true};
    bool multicast_control{false}; // only multicasts it asked for
    bool control_ring{false};
    std::uint16_t headroom{0};                       // bytes in front of what it receives (XDP)
    std::uint32_t receive_buffers{netif::ring_size}; // of each queue
};

// What the back end offers: what it takes of what this end leaves undone.
struct backend_features {
    std::uint32_t queues{1};
    bool scatter_gather{false};
    bool gso_tcp_v4{false};
    bool gso_tcp_v6{false};
    bool checksum{false};
    bool checksum_ipv6{false};
    bool multicast_control{false};
    bool split_channels{false};
    bool control_ring{false};
    bool headroom{false};
};

// One thread, its guest's. Destroyed before its guest; that takes back what was granted, but says
// nothing to the back end, as when a guest dies.
class netfront {
public:
    using milliseconds = std::chrono::milliseconds;

    netfront(simulated_guest& g, netfront_options o);
    ~netfront();
    netfront(const netfront&) = delete;
    netfront& operator=(const netfront&) = delete;

    // The driver is bound to the device: it watches its back end and goes to state 1. Error: there
    // is no such device.
    result<void> start();
    // Does what the back end's state asks for. To be called when the store has had events, however
    // many; those of other devices do no harm.
    result<void> follow();
    // The driver is unbound: states 5 and 6, each when the back end has followed; then everything
    // that was granted is taken back. Error: the back end did not follow, or holds on to a grant.
    result<void> stop(milliseconds patience);
    // start(), and follow() until both sides are connected.
    result<void> connect(milliseconds patience);
    // follow() until the back end's state is that one.
    result<void> wait_for_backend(xenbus_state s, milliseconds patience);
    // The guest goes on after a suspend that came to nothing. What happened meanwhile is found:
    // watches are set anew, and both ends look into every ring.
    result<void> resume_cancelled();

    [[nodiscard]] xenbus_state state() const noexcept { return own_; }
    [[nodiscard]] xenbus_state backend_state();
    [[nodiscard]] bool connected() const noexcept { return own_ == xenbus_state::connected; }
    // Both ends are: frames can go through. As of the last follow().
    [[nodiscard]] bool carrier() const noexcept { return connected() && backend_connected_; }
    [[nodiscard]] const std::string& folder() const noexcept { return folder_; }
    // As the tool stack gave it ("00:16:3e:..."); empty: it did not.
    [[nodiscard]] const std::string& mac() const noexcept { return mac_; }
    [[nodiscard]] const backend_features& offered() const noexcept { return offered_; }

    // While there are rings, from connecting to stop().
    [[nodiscard]] std::span<const std::unique_ptr<netfront_queue>> queues() const noexcept
    {
        return queues_;
    }
    [[nodiscard]] netfront_queue& queue(std::size_t i = 0) const { return *queues_.at(i); }
    // Of all queues there have been.
    [[nodiscard]] netfront_counts counts() const noexcept;
    // Of any queue; empty: none.
    [[nodiscard]] std::string violation() const;

    // ---- what is asked for while connected; each waits for the back end ----

    // One message of the control ring. Error: there is none, or no answer came.
    [[nodiscard]] result<netif::control_response>
    control(netif::control_type type, std::array<std::uint32_t, 3> data, milliseconds patience);
    // The back end shall hash with this key (40 bytes) what `types` names, and spread by the table.
    result<void> use_toeplitz(std::span<const std::uint8_t> key, std::uint32_t types,
                              std::span<const std::uint32_t> table, milliseconds patience);
    result<void> set_headroom(std::uint16_t bytes, milliseconds patience);

private:
    struct control_side;

    [[nodiscard]] xenbus_state read_state(const std::string& folder);
    [[nodiscard]] std::uint32_t read_number(const std::string& path, std::uint32_t otherwise);
    result<void> set_state(xenbus_state s);
    [[nodiscard]] result<void> find_device();
    void read_offer();
    result<void> open_rings();
    result<void> publish_rings();
    [[nodiscard]] result<void> write_keys(transaction t);
    // follow() until `done` says so.
    template <typename Done>
    result<void> wait_until(Done&& done, milliseconds patience, const std::string& what);
    result<void> ask(netif::control_type type, std::array<std::uint32_t, 3> data,
                     milliseconds patience);
    void unwatch() noexcept;
    void let_go_of_queues();

    simulated_guest& guest_;
    const netfront_options options_;
    const std::string folder_;
    std::string backend_folder_;
    std::string watched_; // a folder; empty: none
    std::string mac_;
    domain_id backend_{};
    xenbus_state own_{xenbus_state::absent};
    bool backend_connected_{false};
    backend_features offered_;
    std::uint16_t headroom_;
    std::vector<std::unique_ptr<netfront_queue>> queues_;
    std::unique_ptr<control_side> control_;
    netfront_counts past_; // of queues that are gone
};

} // namespace strait::xen::simulated
