// SPDX-License-Identifier: BSD-3-Clause
// A switch in a test's own process: a worker, a bridge, vhost-user ports on sockets in a folder of
// its own; and what the process holds, to be counted.
#pragma once

#include "front_end.hh"

#include "dataplane/engine.hh"
#include "ports/vhost/vhost.hh"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace strait::vhost::test {

// Waits until it holds, a few seconds at most.
bool eventually(const std::function<bool()>& holds,
                std::chrono::milliseconds patience = std::chrono::seconds{5});

class lab {
public:
    // Ports vm0, vm1, …, all in one bridge, of so many queue pairs each.
    explicit lab(unsigned ports, bool client = false, unsigned queues = 1, unsigned workers = 1);
    lab(const lab&) = delete;
    lab& operator=(const lab&) = delete;
    ~lab();

    [[nodiscard]] std::string socket(unsigned port) const;
    [[nodiscard]] ports::port& port(unsigned index) { return *ports_[index]; }
    [[nodiscard]] std::string folder() const { return folder_; }
    // A detail of a port as text; "" when it is not shown.
    [[nodiscard]] std::string detail(unsigned port, std::string_view name) const;
    [[nodiscard]] const dataplane::port_counters& counters(unsigned port,
                                                           std::uint16_t worker = 0) const;
    [[nodiscard]] dataplane::engine& engine() { return *engine_; }

    // Takes a port away, or all of them, as a switch that ends does, and makes them anew.
    void stop(unsigned port);
    void start(unsigned port);

private:
    void publish();

    std::string folder_;
    bool client_;
    unsigned queues_;
    unsigned workers_;
    std::unique_ptr<dataplane::engine> engine_;
    std::vector<std::unique_ptr<ports::port>> ports_;
    std::shared_ptr<dataplane::mac_table> macs_;
    std::uint32_t incarnation_{0};
};

// A frame from one locally administered address to another, its payload made of `seed`.
[[nodiscard]] bytes make_frame(unsigned to, unsigned from, std::size_t size, unsigned seed);
[[nodiscard]] bytes make_broadcast(unsigned from, std::size_t size, unsigned seed);

// Both directions between two guests pass `count` frames unchanged, in order, within a few seconds.
testing::AssertionResult talk(guest& a, unsigned a_address, guest& b, unsigned b_address,
                              unsigned count = 20);

// What a process can leak.
struct holdings {
    std::size_t descriptors; // open files
    std::size_t mappings;
    std::size_t heap; // bytes of malloc in use
    std::size_t dpdk; // bytes of DPDK's heap in use
    [[nodiscard]] static holdings now();
};

} // namespace strait::vhost::test
