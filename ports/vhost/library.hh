// SPDX-License-Identifier: BSD-3-Clause
// DPDK's vhost library as ports use it: its callbacks and message hooks, dispatched to the port
// whose socket a connection came by, and threads that look after all ports a few times a second.
#pragma once

#include "ports/port.hh"
#include "ports/vhost/message.hh"

#include <chrono>
#include <cstdint>
#include <string>

namespace strait::vhost {

// What a hook tells the library: enum rte_vhost_msg_result.
enum class verdict : int { error = -1, done = 0, reply = 1, not_handled = 2 };

// One registered socket. The library calls from its event thread, its thread that connects, and
// from the thread in unregister_socket(); none of these calls may call it back with a lock held
// that another of them takes, and before() and after() run with every queue's lock of the library
// taken.
class endpoint {
public:
    // False refuses the connection, which is then closed.
    virtual bool connected(int vid) noexcept = 0;
    virtual void disconnected(int vid) noexcept = 0;
    virtual void device_ready(int vid) noexcept = 0;
    virtual void device_stopped(int vid) noexcept = 0;
    virtual void ring_state(int vid, unsigned ring, bool ready) noexcept = 0;
    virtual verdict before(int vid, message m) noexcept = 0;
    // Only after the library took the message without an error.
    virtual void after(int vid, message m) noexcept = 0;
    // The library met guest memory that is no longer there.
    virtual void memory_lost(int vid) noexcept = 0;
    // From the thread that looks after ports, every look_interval. May wait for workers.
    virtual void look() noexcept = 0;
    // From a thread that waits for nobody, so that whoever waits for a worker is not the one to set
    // it free. True: again a moment later, else after look_interval.
    virtual bool free_workers() noexcept = 0;

protected:
    ~endpoint() = default;
};

inline constexpr std::chrono::milliseconds look_interval{50};

// Sockets that the library's event thread can serve: it waits on at most 1,024 descriptors, of each
// socket one that listens and one that is connected, and on a few of its own and of front ends that
// are about to be refused.
inline constexpr std::size_t max_sockets = 500;

// Control thread. Makes the socket and begins to serve it; features and protocol features are what
// is offered of what the library has; get_features the endpoint answers itself. An error leaves
// nothing behind.
[[nodiscard]] ports::result<void> register_socket(endpoint& e, const std::string& path, bool client,
                                                  std::uint64_t features,
                                                  std::uint64_t protocol_features);
// Control thread. Closes all its connections and the socket; no call to the endpoint is under way
// or comes after it returned. Device_stopped() may be called by it, disconnected() is not.
void unregister_socket(endpoint& e, const std::string& path) noexcept;

} // namespace strait::vhost
