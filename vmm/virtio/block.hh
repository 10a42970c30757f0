// SPDX-License-Identifier: BSD-3-Clause
// The block device (VIRTIO 1.1 section 5.2): one queue, on a raw file or a block device of the
// host. `disk` answers requests, `block` is the device around it.
//
// Requests are done by preadv(2) and pwritev(2), one after the other, on a thread of the disk's
// own, straight between the file and the guest's memory. Not by io_uring: what is submitted to a
// ring passes by seccomp filters, many hardened hosts switch it off, and a thread a disk is enough
// for the disk of a guest whose business is the network.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"
#include "vmm/virtio/device.hh"
#include "vmm/virtio/queue_server.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace strait::vmm::virtio {

namespace block_feature {
inline constexpr unsigned size_max = 1;
inline constexpr unsigned seg_max = 2;
inline constexpr unsigned read_only = 5;
inline constexpr unsigned block_size = 6;
inline constexpr unsigned flush = 9;
inline constexpr unsigned discard = 13;
inline constexpr unsigned write_zeroes = 14;
} // namespace block_feature

// The status byte that ends each request: 5.2.6.
enum class block_status : std::uint8_t { ok = 0, io_error = 1, unsupported = 2 };

struct disk_options {
    std::string path;
    bool read_only{false};
    std::string serial{}; // at most disk::serial_bytes
};

// A file of whole sectors. As with QEMU's default, the host's page cache holds what was written
// until the guest flushes; a guest that does not know how to has each write made durable before it
// is told of it.
class disk {
public:
    static constexpr std::uint32_t sector = 512;
    static constexpr std::size_t serial_bytes = 20;
    // So much a request moves at most, and so long stop() of its device waits for it. What a driver
    // may put into one, most_segments of segment_bytes, is less.
    static constexpr std::uint64_t request_bytes = std::uint64_t{64} << 20;
    static constexpr std::uint32_t segment_bytes = 256 * 1024;
    static constexpr std::uint32_t most_segments = 254; // and a header and a status: 256

    // Refused in a sentence: what is no regular file and no block device, is empty, or does not end
    // with a whole sector (rounded down, its end would be missing; QEMU rounds up and makes one
    // up); what another process has locked: whoever writes has it alone, readers share it. The lock
    // is an open file description's, on all of the file, and conflicts with QEMU's own.
    [[nodiscard]] static ports::result<disk> open(const disk_options& o);

    [[nodiscard]] std::uint64_t sectors() const noexcept { return sectors_; }
    [[nodiscard]] bool read_only() const noexcept { return read_only_; }
    // Whether what it is on can give space back.
    [[nodiscard]] bool can_discard() const noexcept { return can_discard_; }

    // Does the request that a chain holds, and writes its status. A request without room for its
    // header or its status, 16 bytes and one, breaks the protocol: nobody could be told of it. All
    // else that is wrong with a request is said by its status. `durable`: what was written is, when
    // this returns. One thread at a time.
    [[nodiscard]] queue_server::outcome answer(chain& c, bool durable);

private:
    struct header;
    struct range;

    disk() = default;

    [[nodiscard]] block_status perform(const header& h, chain& c);
    [[nodiscard]] block_status read(const header& h, chain& c);
    [[nodiscard]] block_status write(const header& h, chain& c);
    [[nodiscard]] block_status flush();
    [[nodiscard]] block_status tell_serial(chain& c) const;
    [[nodiscard]] block_status clear(const header& h, chain& c);
    [[nodiscard]] block_status discard(const range& r);
    [[nodiscard]] block_status write_zeroes(const range& r);
    [[nodiscard]] block_status write_zeroes_out(std::uint64_t offset, std::uint64_t bytes);

    [[nodiscard]] bool holds(std::uint64_t first, std::uint64_t bytes) const noexcept;
    [[nodiscard]] block_status failed(std::string_view what, int code) const;

    std::string path_;
    std::array<char, serial_bytes> serial_{};
    dataplane::file_descriptor file_;
    std::uint64_t sectors_{0};
    bool read_only_{false};
    bool can_discard_{false};
    bool flush_failed_{false};
};

// Features: SIZE_MAX and SEG_MAX, which bound a request; RO, or FLUSH, WRITE_ZEROES and, where the
// disk can, DISCARD; BLK_SIZE. Not CONFIG_WCE: a guest that wants no cache leaves FLUSH alone. Not
// MQ: there is one thread.
class block final : public device {
public:
    static constexpr std::uint16_t queue_size = 256;

    // The disk, which may have been another device's before, and `memory` outlive it. The thread is
    // there from now on, called `thread_name`; it does what `begin` says first, if that
    // is not null.
    block(disk& d, const vhost::guest_memory& memory, const std::string& thread_name,
          thread_begin* begin = nullptr);

    [[nodiscard]] std::uint16_t type() const noexcept override { return 2; }
    [[nodiscard]] std::uint64_t features() noexcept override;
    [[nodiscard]] std::uint16_t queues() const noexcept override { return 1; }
    [[nodiscard]] std::uint16_t max_queue_size(std::uint16_t /*queue*/) const noexcept override
    {
        return queue_size;
    }
    [[nodiscard]] std::size_t config_size() const noexcept override;
    void read_config(std::size_t offset, std::span<std::byte> to) noexcept override;
    void attach(transport& t) noexcept override { server_.attach(t); }
    void start(std::uint64_t features, std::span<const queue_setup> queues) override;
    void stop(std::function<void()> done) override { server_.stop(std::move(done)); }

private:
    disk& disk_;
    bool durable_{false};
    queue_server server_; // last: its thread ends before the rest goes
};

} // namespace strait::vmm::virtio
