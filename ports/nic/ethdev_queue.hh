// SPDX-License-Identifier: BSD-3-Clause
// The two directions of an ethdev's queue, as workers call them. Taps have their own way out
// (tap.hh). What is received is taken as it is: no receive offload is asked of a device.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/nic/device.hh"
#include "ports/port.hh"

#include <array>
#include <atomic>
#include <cstdint>
#include <limits>

namespace strait::nic {

struct ethdev_traits {
    driver kind{driver::other};
    bool takes_chains{false};
    dataplane::offloads takes{dataplane::offloads::none};
    bool fills_ipv4{false};    // IPv4's header checksum, of what it segments
    bool speaks_slowly{false}; // has something to send now and then by itself, as LACP
    bool interrupts{false};    // its receive queues', which are asked for one by one
    bool may_wait{false};      // see rx_queue
    // Bytes; longer frames may have been cut by the device and are dropped.
    std::uint32_t longest_received{std::numeric_limits<std::uint32_t>::max()};
};

class ethdev_rx_queue final : public ports::rx_queue {
public:
    // waker: readable while frames wait; or, if the device interrupts, an eventfd that it rings
    // when it was asked to and something came; none if the device has no such descriptor.
    ethdev_rx_queue(std::uint16_t port_id, std::uint16_t queue_id, const ethdev_traits& traits,
                    dataplane::file_descriptor waker) noexcept
        : port_id_{port_id},
          queue_id_{queue_id},
          longest_{traits.longest_received},
          speaks_slowly_{traits.speaks_slowly},
          interrupts_{traits.interrupts},
          may_wait_{traits.may_wait},
          waker_{std::move(waker)}
    {}
    ~ethdev_rx_queue() override;
    ethdev_rx_queue(const ethdev_rx_queue&) = delete;
    ethdev_rx_queue& operator=(const ethdev_rx_queue&) = delete;

    poll receive(dataplane::burst& b, const ports::queue_context& context) noexcept override;
    void release(dataplane::burst& b, const ports::queue_context& context) noexcept override;
    [[nodiscard]] bool can_wake() const noexcept override { return waker_.get() >= 0; }
    [[nodiscard]] bool may_wait() const noexcept override { return may_wait_; }
    bool list_wakers(std::vector<pollfd>& all) noexcept override;
    bool ask_to_wake(std::span<const pollfd> own) noexcept override;

private:
    void let_speak(std::uint64_t now) noexcept;
    [[nodiscard]] std::uint16_t take(std::span<rte_mbuf*> mbufs) noexcept;
    [[nodiscard]] bool ask_for_interrupt(bool rang) noexcept;

    std::uint16_t port_id_;
    std::uint16_t queue_id_;
    std::uint32_t longest_;
    bool speaks_slowly_;
    bool interrupts_;
    bool may_wait_;
    bool asked_{false};      // for an interrupt
    std::uint64_t spoke_{0}; // TSC
    // What had come already when an interrupt was asked for: drivers do not tell by other means.
    static constexpr std::uint16_t most_early = 32;
    std::array<rte_mbuf*, most_early> early_{};
    std::uint16_t early_count_{0};
    dataplane::file_descriptor waker_;
    bool gone_{false}; // the tap's interface was deleted: nothing comes any more
};

// Errors that a device counts for all its queues together, of which each is counted once by one of
// them.
class device_errors {
public:
    // How many that nobody has counted, `most` of them at most, are the caller's to count.
    [[nodiscard]] std::uint64_t take(std::uint16_t port_id, std::uint64_t most) noexcept;

private:
    std::atomic<std::uint64_t> taken_{0};
};

class ethdev_tx_queue final : public ports::tx_queue {
public:
    // `errors` is the same for all queues of the device.
    ethdev_tx_queue(std::uint16_t port_id, std::uint16_t queue_id, const ethdev_traits& traits,
                    device_errors& errors) noexcept;

    void transmit(std::span<dataplane::packet* const> packets,
                  const ports::queue_context& context) noexcept override;
    [[nodiscard]] std::size_t transmit_some(std::span<dataplane::packet*> packets,
                                            const ports::queue_context& context) noexcept override;
    [[nodiscard]] dataplane::offloads takes() const noexcept override { return takes_; }

private:
    // Returns how many were not sent and are in `unsent` now; null: those are dropped.
    std::size_t send(std::span<dataplane::packet* const> packets,
                     const ports::queue_context& context, rte_mbuf** unsent) noexcept;
    [[nodiscard]] bool prepare(rte_mbuf* m, const dataplane::packet& p) const noexcept;
    void ask_device(rte_mbuf* m, const dataplane::packet& p) const noexcept;
    [[nodiscard]] std::uint16_t let_device_look(std::span<rte_mbuf*> mbufs,
                                                const ports::queue_context& context) const noexcept;

    std::uint16_t port_id_;
    std::uint16_t queue_id_;
    bool takes_chains_;
    dataplane::offloads takes_;
    bool fills_ipv4_;
    bool pads_;          // short frames are ours to fill up
    bool counts_errors_; // says "sent" of what it drops, and counts it
    dataplane::drop_reason unsent_;
    device_errors& errors_;
};

} // namespace strait::nic
