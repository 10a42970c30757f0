// SPDX-License-Identifier: BSD-3-Clause
// The entropy device (VIRTIO 1.1 section 5.4): the host's random bytes, of getrandom(2).
#pragma once

#include "vmm/virtio/device.hh"
#include "vmm/virtio/queue_server.hh"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>

namespace strait::vmm::virtio {

// So many bytes of a buffer are filled at most; the specification leaves the number to the device.
inline constexpr std::size_t most_entropy = 4096;

// Fills a chain. What it has to be read is not looked at. Any thread.
[[nodiscard]] queue_server::outcome fill_with_entropy(chain& c);

class entropy final : public device {
public:
    static constexpr std::uint16_t queue_size = 64;

    // `memory` outlives it. The thread is there from now on, called `thread_name`; it does what
    // `begin` says first, if it is not null.
    entropy(const vhost::guest_memory& memory, const std::string& thread_name,
            thread_begin* begin = nullptr)
        : server_{memory, thread_name, begin, fill_with_entropy}
    {}

    [[nodiscard]] std::uint16_t type() const noexcept override { return 4; }
    [[nodiscard]] std::uint64_t features() noexcept override { return queue_features; }
    [[nodiscard]] std::uint16_t queues() const noexcept override { return 1; }
    [[nodiscard]] std::uint16_t max_queue_size(std::uint16_t /*queue*/) const noexcept override
    {
        return queue_size;
    }
    [[nodiscard]] std::size_t config_size() const noexcept override { return 0; }
    void read_config(std::size_t /*offset*/, std::span<std::byte> /*to*/) noexcept override {}
    void attach(transport& t) noexcept override { server_.attach(t); }
    void start(std::uint64_t features, std::span<const queue_setup> queues) override
    {
        server_.start(features, queues.front());
    }
    void stop(std::function<void()> done) override { server_.stop(std::move(done)); }

private:
    queue_server server_;
};

} // namespace strait::vmm::virtio
