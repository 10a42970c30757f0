// SPDX-License-Identifier: BSD-3-Clause
// What NIC ports are tested against: a network namespace of the test's own, and raw sockets on the
// kernel's side of taps and veths.
#pragma once

#include "tests/unit/dataplane/eal.hh"

#include "ports/nic/nic.hh"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace strait::test {

// Moves the process into a new network namespace and starts EAL. False: no right to.
[[nodiscard]] bool enter_lab();

// Runs a shell command; its exit status.
int run(const std::string& command);
// What it prints.
[[nodiscard]] std::string output_of(const std::string& command);
[[nodiscard]] bool interface_exists(const std::string& name);
[[nodiscard]] std::size_t open_descriptors();

// Sends and receives whole frames on an interface.
class raw_socket {
public:
    explicit raw_socket(const std::string& interface);
    ~raw_socket();
    raw_socket(const raw_socket&) = delete;
    raw_socket& operator=(const raw_socket&) = delete;

    void send(const frame& f) const;
    // The next frame of the test's EtherType, tag put back; nothing after `patience`.
    [[nodiscard]] std::optional<frame>
    receive(std::chrono::milliseconds patience = std::chrono::seconds{2}) const;

private:
    int fd_;
};

// A port with the one pool it is tested with.
class port_under_test {
public:
    port_under_test(std::unique_ptr<ports::port> port, rte_mempool* pool);

    // What follows is of this one of its queues: of the first, unless this is called.
    void use(std::size_t queue) { queue_ = queue; }
    // Frames that came in until `count` did or `patience` ran out. Every burst is released.
    [[nodiscard]] std::vector<frame>
    receive(std::size_t count, std::chrono::milliseconds patience = std::chrono::seconds{3});
    void transmit(std::vector<dataplane::packet*> packets);
    [[nodiscard]] std::uint64_t drops(dataplane::drop_reason reason) const;
    [[nodiscard]] ports::port_detail detail(const std::string& key) const;

    ports::port& operator*() noexcept { return *port_; }
    ports::port* operator->() noexcept { return port_.get(); }
    [[nodiscard]] const dataplane::port_counters& counters() const noexcept { return *counters_; }
    void remove() { port_.reset(); }

private:
    std::unique_ptr<ports::port> port_;
    rte_mempool* pool_;
    std::size_t queue_{0};
    std::unique_ptr<dataplane::port_counters> counters_{new dataplane::port_counters{}};
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst};
};

} // namespace strait::test
