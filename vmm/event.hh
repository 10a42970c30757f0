// SPDX-License-Identifier: BSD-3-Clause
// An eventfd: how an interrupt is raised (KVM listens), a queue is kicked (KVM writes), and a
// thread is woken.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"

namespace strait::vmm {

class event {
public:
    // Fails when the process is out of descriptors.
    [[nodiscard]] static ports::result<event> make();

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    // Any thread; never waits.
    void signal() const noexcept;
    // Whether it was signalled since the last call.
    [[nodiscard]] bool take() const noexcept;
    // The same, and leaves it so.
    [[nodiscard]] bool pending() const noexcept;

private:
    explicit event(int fd) noexcept : fd_{fd} {}

    dataplane::file_descriptor fd_;
};

} // namespace strait::vmm
