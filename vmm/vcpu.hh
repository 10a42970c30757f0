// SPDX-License-Identifier: BSD-3-Clause
// One virtual CPU: its registers at the start, its thread, and what is done with its exits.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"
#include "vmm/boot/loader.hh"
#include "vmm/bus.hh"
#include "vmm/guest_end.hh"
#include "vmm/kvm.hh"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>

namespace strait::vmm {

// Returns of KVM_RUN to user space, by reason.
enum class exit_reason : std::uint8_t { port, mmio, interrupted, shutdown, other };
inline constexpr std::size_t exit_reasons = 5;
[[nodiscard]] std::string_view name_of(exit_reason reason) noexcept;

class vcpu {
public:
    // Where its accesses go and whom it tells of its end; both outlive it.
    struct surroundings {
        const bus* ports;
        const bus* addresses;
        std::function<void(guest_end)> ended; // from its thread, which goes on no further
    };

    // The `id`-th of `count`.
    [[nodiscard]] static ports::result<std::unique_ptr<vcpu>> make(const kvm& machine, unsigned id,
                                                                   unsigned count, surroundings s);
    vcpu(const vcpu&) = delete;
    vcpu& operator=(const vcpu&) = delete;
    ~vcpu(); // stops it

    // Of the first one; the others wait for the first to start them.
    ports::result<void> begin_at(const boot::entry& e);

    // Starts the thread, which calls `prepare` before anything else, and executes nothing if that
    // says an error. What it has said is here then.
    [[nodiscard]] std::future<ports::result<void>>
    start(std::function<ports::result<void>()> prepare);

    // Returns when the vCPU executes nothing; resume() lets it go on. Not from its own thread.
    void pause();
    void resume();

    [[nodiscard]] std::uint64_t exits(exit_reason reason) const noexcept
    {
        return exits_[static_cast<std::size_t>(reason)].load(std::memory_order_relaxed);
    }

private:
    enum class wish : std::uint8_t { run, pause, stop };

    vcpu(dataplane::file_descriptor fd, std::size_t run_size, surroundings s) noexcept;
    void want(wish w);
    void run();
    [[nodiscard]] bool may_run();
    // False when the guest has come to its end.
    bool handle_exit();
    void port_access() noexcept;
    void mmio_access() noexcept;
    bool end(guest_end::kind how, std::string detail);
    void count(exit_reason reason) noexcept
    {
        exits_[static_cast<std::size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
    }

    dataplane::file_descriptor fd_;
    kvm_run* run_{nullptr};
    std::size_t run_size_;
    surroundings surroundings_;
    std::array<std::atomic<std::uint64_t>, exit_reasons> exits_{};

    std::mutex mutex_;
    std::condition_variable changed_;
    std::atomic<wish> wish_{wish::run};
    bool resting_{true}; // it executes nothing
    std::thread thread_;
};

} // namespace strait::vmm
