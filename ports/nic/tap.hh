// SPDX-License-Identifier: BSD-3-Clause
// The way out through a tap. DPDK's tap driver refuses frames beyond 1,522 bytes whatever MTU the
// interface has, so transmit writes to the tap itself, without an mbuf; receive stays the driver's.
#pragma once

#include "ports/port.hh"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace strait::nic {

// A file descriptor of ours.
class descriptor {
public:
    descriptor() noexcept = default;
    explicit descriptor(int fd) noexcept : fd_{fd} {}
    descriptor(descriptor&& other) noexcept : fd_{other.fd_} { other.fd_ = -1; }
    descriptor& operator=(descriptor&& other) noexcept;
    ~descriptor();
    [[nodiscard]] int get() const noexcept { return fd_; }

private:
    int fd_{-1};
};

// A duplicate of the descriptor of this process's queue on the tap `interface`. Error: there is
// none.
[[nodiscard]] ports::result<descriptor> find_tap(const std::string& interface);

// DPDK's tap driver has the kernel signal each arrival; when more signals wait than the process may
// have, the kernel sends SIGIO instead, which ends a process that does not ignore it.
void survive_tap_signals() noexcept;

class tap_tx_queue final : public ports::tx_queue {
public:
    explicit tap_tx_queue(descriptor tap);

    void transmit(std::span<dataplane::packet* const> packets,
                  const ports::queue_context& context) noexcept override;
    // Whether the interface is up, in whatever namespace it is by now. Any thread.
    [[nodiscard]] bool is_up() const noexcept;

private:
    // Bytes of the largest frame that is gathered before it is written.
    static constexpr std::size_t scratch_size = 65536 + 64;

    [[nodiscard]] ssize_t write(const dataplane::packet& p) noexcept;

    descriptor tap_;
    std::unique_ptr<std::byte[]> scratch_;
};

} // namespace strait::nic
