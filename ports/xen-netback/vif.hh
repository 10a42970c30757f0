// SPDX-License-Identifier: BSD-3-Clause
// One network device of one Xen guest: from its two folders in the store to its rings, through
// every state that both sides can be in. What drives it, and what it is to the switch, is elsewhere
// (backend.hh, netback.hh).
#pragma once

#include "dataplane/rcu.hh"
#include "ports/port.hh"
#include "ports/xen-netback/control_ring.hh"
#include "ports/xen-netback/hypervisor.hh"
#include "ports/xen-netback/queue.hh"
#include "ports/xen-netback/xenbus.hh"

#include <atomic>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace strait::xen {

// The guest's domain and the device's number in it.
struct vif_id {
    domain_id domain;
    std::uint32_t handle;
    auto operator<=>(const vif_id&) const noexcept = default;

    [[nodiscard]] std::string to_string() const; // "vif3.0"
    // Of the backend's folder, relative to the own domain's.
    [[nodiscard]] std::string backend_path() const;
};

struct vif_settings {
    std::string port; // its name, for the log
    std::uint32_t mtu;
    std::uint32_t queues{max_queues}; // pairs, at most
    std::uint64_t tsc_hz;
};

class vif {
public:
    // What it refers to outlives it.
    vif(vif_id id, vif_settings s, hypervisor& h, dataplane::rcu_domain& rcu, queue& q);
    ~vif() = default; // after detach()
    vif(const vif&) = delete;
    vif& operator=(const vif&) = delete;

    [[nodiscard]] vif_id id() const noexcept { return id_; }

    // Whether it is a node of a device's that nobody but a vif writes, for itself or its guest:
    // that it has changed is no news.
    [[nodiscard]] static bool writes_alone(std::string_view path) noexcept;

    // ---- one thread, which may wait for the store ----

    // Looks at the store and does what both sides' states ask for. To be called after any change.
    // False: the store could not be asked, and nothing has changed; to be called again.
    [[nodiscard]] bool evaluate();
    // Answers the control ring, and ends a connection whose rings cannot be gone on with. True if
    // there is more to do at once.
    bool look();
    // Of the control ring; -1 without one.
    [[nodiscard]] int control_descriptor() const noexcept;
    // Takes its hands off, and leaves both sides' states as they are for the next process.
    void detach();
    // The port goes for good: the guest is told that its device is closed.
    void retire();

    // ---- any thread ----

    [[nodiscard]] bool link_up() const noexcept { return up_.load(std::memory_order_acquire); }
    [[nodiscard]] ports::port::guests attached() const noexcept;
    void set_mtu(std::uint32_t mtu);
    void rename(const std::string& port); // in the log
    // Told to the guest (netif.h, "Link state") by the next look().
    void set_carrier(bool there) noexcept { carrier_.store(there, std::memory_order_relaxed); }
    [[nodiscard]] std::vector<std::pair<std::string, ports::port_detail>> details() const;

private:
    // What is shown of a connection.
    struct status {
        xenbus_state backend{xenbus_state::absent};
        xenbus_state frontend{xenbus_state::absent};
        bool split_channels{false};
        std::string why; // of the last connection's end, or why there is none
        std::int64_t connections{0};
        bool adopted{false};
    };

    // These throw unreadable when the store fails, which says nothing of what is in it.
    [[nodiscard]] std::optional<std::string> read(const std::string& path) const;
    [[nodiscard]] std::optional<std::uint32_t> read_number(const std::string& path) const;
    [[nodiscard]] bool read_flag(const std::string& path) const;
    [[nodiscard]] xenbus_state read_state(const std::string& folder) const;
    bool change(const std::function<ports::result<void>(transaction)>& what, const char* name);
    void set_state(xenbus_state s);
    void act(xenbus_state front, bool online);
    void follow(const std::optional<std::string>& frontend);
    void announce();
    void connect(bool adopting);
    ports::result<std::unique_ptr<ring_set>> make_rings(std::unique_ptr<control_ring>& control,
                                                        bool adopting);
    ports::result<void> add_queue(ring_set& rings, const std::string& folder, bool adopting);
    ports::result<std::unique_ptr<control_ring>> make_control_ring(ring_set& rings, bool adopting);
    [[nodiscard]] bool keep_hash(const std::string& text);
    void tell_carrier();
    [[nodiscard]] frontend_features read_features() const;
    [[nodiscard]] credit read_rate() const;
    [[nodiscard]] std::uint16_t read_headroom() const;
    void disconnect(const std::string& why);
    void give_up(const std::string& why);
    void note(const std::string& what) const;

    const vif_id id_;
    vif_settings settings_;
    hypervisor& hypervisor_;
    store& store_;
    dataplane::rcu_domain& rcu_;
    queue& queue_;
    const std::string path_;
    std::string frontend_; // its folder; empty: not known
    // Replaced under mutex_, too.
    std::unique_ptr<ring_set> rings_;
    std::unique_ptr<control_ring> control_; // refers to rings_
    bool store_failed_{false};
    bool given_up_{false}; // until the frontend leaves its state, it is not connected again
    xenbus_state own_{xenbus_state::absent};

    std::optional<bool> told_carrier_;   // by this process
    std::optional<bool> failed_carrier_; // could not be told

    std::atomic<bool> up_{false};
    std::atomic<bool> carrier_{true};
    mutable std::mutex naming_; // settings_.port; held with or without mutex_
    mutable std::mutex mutex_;  // what is below
    std::uint32_t mtu_;
    status status_;
};

} // namespace strait::xen
