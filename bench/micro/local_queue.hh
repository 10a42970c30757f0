// SPDX-License-Identifier: BSD-3-Clause
// A guest's virtqueue in this process's own memory, with what the ring engine needs to serve it.

#pragma once

#include "bench/guest/virtqueue.hh"
#include "ports/vhost/memory.hh"
#include "ports/vhost/ring.hh"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace strait::bench {

class local_queue {
public:
    explicit local_queue(const virtqueue::shape& s);
    local_queue(const local_queue&) = delete;
    local_queue& operator=(const local_queue&) = delete;
    ~local_queue();

    [[nodiscard]] virtqueue& driver() noexcept { return *driver_; }

    // For the ring engine, with what was negotiated beside the usual. Valid as long as this object.
    [[nodiscard]] vhost::ring_setup setup(std::uint64_t more_features = 0) const;

private:
    std::size_t bytes_;
    std::byte* base_;
    std::unique_ptr<vhost::guest_memory> memory_;
    std::optional<virtqueue> driver_;
};

} // namespace strait::bench
