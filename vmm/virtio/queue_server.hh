// SPDX-License-Identifier: BSD-3-Clause
// A device's one queue at work on the device's own thread: waits for kicks, has each chain
// answered, and takes turns with whatever else the thread has to do.
#pragma once

#include "ports/vhost/memory.hh"
#include "vmm/device_thread.hh"
#include "vmm/virtio/device.hh"
#include "vmm/virtio/queue.hh"

#include <boost/asio/posix/stream_descriptor.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace strait::vmm::virtio {

class queue_server {
public:
    struct outcome {
        std::uint32_t written{0};   // bytes of the chain, from the first writable one
        std::uint64_t moved{0};     // bytes; so many end a turn
        const char* fault{nullptr}; // how the guest broke the device's protocol: a sentence's end
    };
    // Called on the thread, for one chain after the other. Its work is bounded.
    using answer = std::function<outcome(chain&)>;

    // A turn ends after so many chains, or when they moved so many bytes.
    static constexpr unsigned turn_chains = 64;
    static constexpr std::uint64_t turn_bytes = std::uint64_t{1} << 20;

    // `memory` outlives it. The name and `begin` are the thread's.
    queue_server(const vhost::guest_memory& memory, const std::string& name, thread_begin* begin,
                 answer a);
    queue_server(const queue_server&) = delete;
    queue_server& operator=(const queue_server&) = delete;
    // Ends the thread first: `a` is called no more.
    ~queue_server();

    // The same calls as a device's, from the same threads. The descriptors of `setup` are open
    // until `done` is called.
    void attach(transport& t) noexcept { transport_ = &t; }
    void start(std::uint64_t features, const queue_setup& setup);
    void stop(std::function<void()> done);

private:
    void begin(std::uint64_t features, const queue_setup& setup);
    void turn();
    void turn_later();
    void wait();

    const vhost::guest_memory& memory_;
    answer answer_;
    transport* transport_{nullptr};
    // What is below is the thread's.
    std::optional<queue> queue_;
    int kick_fd_{-1};
    std::uint64_t period_{0}; // starts so far: what an earlier one left waiting is for nothing
    device_thread thread_;
    boost::asio::posix::stream_descriptor kick_{thread_.context()};
};

} // namespace strait::vmm::virtio
