// SPDX-License-Identifier: BSD-3-Clause
// The way out through a tap. DPDK's tap driver refuses frames beyond 1,522 bytes whatever MTU the
// interface has, so transmit writes to the tap itself, without an mbuf; receive stays the driver's.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/port.hh"

#include <cstddef>
#include <memory>

namespace strait::nic {

using dataplane::file_descriptor;

// DPDK's tap driver has the kernel signal each arrival; when more signals wait than the process may
// have, the kernel sends SIGIO instead, which ends a process that does not ignore it.
void survive_tap_signals() noexcept;

class tap_tx_queue final : public ports::tx_queue {
public:
    explicit tap_tx_queue(file_descriptor tap);

    void transmit(std::span<dataplane::packet* const> packets,
                  const ports::queue_context& context) noexcept override;
    [[nodiscard]] std::size_t transmit_some(std::span<dataplane::packet*> packets,
                                            const ports::queue_context& context) noexcept override;
    // Whether the interface is up, in whatever namespace it is by now. Any thread.
    [[nodiscard]] bool is_up() const noexcept;

private:
    // Bytes of the largest frame that is gathered before it is written.
    static constexpr std::size_t scratch_size = 65536 + 64;

    [[nodiscard]] ssize_t write(const dataplane::packet& p) noexcept;
    // Stops where there is no room, if `keeps`; returns how many it was done with.
    std::size_t send(std::span<dataplane::packet* const> packets,
                     const ports::queue_context& context, bool keeps) noexcept;

    file_descriptor tap_;
    std::unique_ptr<std::byte[]> scratch_;
};

} // namespace strait::nic
