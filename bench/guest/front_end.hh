// SPDX-License-Identifier: BSD-3-Clause
// A guest's network device as its switch sees it: shared memory with queue pairs, and the
// vhost-user connection over which they are handed out (QEMU's docs/interop/vhost-user.rst). There
// is no guest: who owns it drives the rings himself.

#pragma once

#include "bench/guest/virtqueue.hh"
#include "dataplane/file_descriptor.hh"
#include "ports/vhost/front_channel.hh"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace strait::bench {

// Used by one thread. What goes wrong is thrown as std::runtime_error, one sentence that begins
// with the socket's path.
class front_end {
public:
    static constexpr std::uint16_t most_pairs = 16;

    struct options {
        std::string path;
        bool server = false; // listen there; the switch connects
        bool packed = false;
        bool mergeable = true;
        bool in_order = true; // if the switch offers it
        // TCP segments that are to be cut, and their checksums to be filled in.
        bool sends_segments = false;
        bool takes_segments = false;
        bool huge_pages = true;
        std::uint16_t pairs = 1; // of queues, all enabled: at most most_pairs
        std::uint16_t queue_size = 256;
        std::uint32_t transmit_buffer = 2048; // bytes, the virtio header included
        std::uint32_t receive_buffer = 2048;
    };

    // Connects, or begins to listen.
    explicit front_end(const options& o);
    front_end(const front_end&) = delete;
    front_end& operator=(const front_end&) = delete;
    ~front_end();

    // Waits for the switch if it is the one to connect, negotiates and hands out the rings, in
    // which all receive buffers are offered.
    void attach(std::chrono::milliseconds patience);

    // Throws when the switch has hung up.
    void expect_connected() const;

    // Where the switch has hung up and one listens there again: hands it the same rings, which go
    // on as they stand. Waits for its answers only. What goes wrong is expect_connected()'s to
    // tell.
    void follow();

    // From attach() on. After offer() has said so, the queue is to be kicked.
    [[nodiscard]] virtqueue& receive(unsigned pair = 0) noexcept { return *pairs_[pair].receive; }
    [[nodiscard]] virtqueue& transmit(unsigned pair = 0) noexcept { return *pairs_[pair].transmit; }
    void kick_receive(unsigned pair = 0) noexcept { kick(2 * pair); }
    void kick_transmit(unsigned pair = 0) noexcept { kick(2 * pair + 1); }

private:
    static constexpr std::uint64_t guest_base = 0x1'0000'0000;

    [[noreturn]] void fail(const std::string& what) const;
    [[noreturn]] void fail(const std::string& what, int code) const;

    void wait_readable(int fd, std::chrono::milliseconds patience, const char* missing) const;
    void accept_within(std::chrono::milliseconds patience);
    std::uint64_t negotiate();
    void make_memory(const virtqueue::shape& receive, const virtqueue::shape& transmit);
    void share_memory();
    void hand_out();
    void hand_out(unsigned index, virtqueue& queue);

    [[nodiscard]] std::uint64_t ask(vhost::request r);
    template <typename T>
    void tell(vhost::request r, const char* name, const T& payload, std::span<const int> fds = {});
    void kick(unsigned index) noexcept;

    options options_;
    dataplane::file_descriptor listener_;
    vhost::front_channel channel_;
    std::uint64_t features_ = 0; // as negotiated first
    std::string refusal_;        // why the switch that came back last was not handed the rings
    dataplane::file_descriptor memory_fd_;
    std::byte* memory_ = nullptr;
    std::size_t memory_bytes_ = 0;
    struct queue_pair {
        std::optional<virtqueue> receive;
        std::optional<virtqueue> transmit;
    };
    std::array<queue_pair, most_pairs> pairs_;
    std::array<dataplane::file_descriptor, std::size_t{2} * most_pairs> kicks_;
    std::array<dataplane::file_descriptor, std::size_t{2} * most_pairs> calls_;
};

} // namespace strait::bench
