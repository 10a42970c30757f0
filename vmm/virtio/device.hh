// SPDX-License-Identifier: BSD-3-Clause
// A virtio device without its transport: what type it is, what it offers, what it does with its
// queues. The transport (pci_transport.hh) has the registers, and checks all that the guest writes
// to them; it calls from vCPUs' threads, one call at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace strait::vmm::virtio {

// A queue as the guest had set it up at DRIVER_OK; it stays so until the device is reset. The
// rings' addresses are guest-physical, aligned as VIRTIO 1.1 (2.6, 2.7) wants, not yet looked up.
struct queue_setup {
    std::uint16_t size{0}; // descriptors, at most what the device allows; a power of two if split
    bool enabled{false};
    std::uint64_t descriptors{0};
    std::uint64_t driver{0}; // split: the available ring
    std::uint64_t device{0}; // split: the used ring
    int kick{-1};            // eventfd, non-blocking: KVM writes it when the guest notifies
    int call{-1};            // eventfd, non-blocking: writing it interrupts, unless masked
};

// What a device tells its transport; from any thread.
class transport {
public:
    virtual ~transport() = default;
    virtual void config_changed() noexcept = 0;
    // The guest broke the protocol, as the sentence's end `why` says: DEVICE_NEEDS_RESET.
    virtual void broken(const char* why) noexcept = 0;
};

class device {
public:
    virtual ~device() = default;

    // VIRTIO 1.1 section 5: 1 network, 2 block, 4 entropy.
    [[nodiscard]] virtual std::uint16_t type() const noexcept = 0;
    // Asked for each time the guest reads them. VERSION_1 is the transport's.
    [[nodiscard]] virtual std::uint64_t features() noexcept = 0;
    [[nodiscard]] virtual std::uint16_t queues() const noexcept = 0;
    [[nodiscard]] virtual std::uint16_t max_queue_size(std::uint16_t queue) const noexcept = 0;

    // Bytes of the device's configuration; accesses beyond its end are not passed on.
    [[nodiscard]] virtual std::size_t config_size() const noexcept = 0;
    virtual void read_config(std::size_t offset, std::span<std::byte> to) noexcept = 0;
    virtual void write_config(std::size_t /*offset*/, std::span<const std::byte> /*from*/) noexcept
    {}

    // For start() and later; once, before any other call.
    virtual void attach(transport& t) noexcept = 0;
    // At DRIVER_OK, of what start() would get: how the guest broke the protocol, a sentence's end;
    // null if it did not. Who says so is not started.
    [[nodiscard]] virtual const char*
    fault_of(std::uint64_t /*features*/, std::span<const queue_setup> /*queues*/) const noexcept
    {
        return nullptr;
    }
    // DRIVER_OK, with the features that the guest took. `queues` is valid for the call only.
    virtual void start(std::uint64_t features, std::span<const queue_setup> queues) = 0;
    // The guest resets a device that was started: `done` is called, by any thread, when nothing
    // touches its queues any more. The guest waits for that.
    virtual void stop(std::function<void()> done) = 0;
};

} // namespace strait::vmm::virtio
