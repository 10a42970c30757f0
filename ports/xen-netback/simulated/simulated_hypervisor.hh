// SPDX-License-Identifier: BSD-3-Clause
// The seam of ../hypervisor.hh on a simulated hypervisor: copies are done here, in the calling
// process, under the rules of grants; mapping, binding and the store are asked of the server.
#pragma once

#include "ports/xen-netback/simulated/client.hh"

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strait::xen::simulated {

// What this process has done since it connected. Read at any time, by any thread.
struct hypervisor_counts {
    std::uint64_t calls{0}; // of copy()
    std::uint64_t pieces{0};
    std::uint64_t failed{0};     // pieces
    std::uint64_t bytes{0};      // copied
    std::uint64_t hypercalls{0}; // as Linux makes them: 16 operations each, one or more a piece
    std::uint64_t notifications{0};
    bool operator==(const hypervisor_counts&) const noexcept = default;
};

// What real calls would cost, added by spinning. TSC cycles.
struct hypervisor_costs {
    std::uint64_t hypercall{0};
    std::uint64_t piece{0};
};

class simulated_hypervisor final : public xen::hypervisor {
public:
    // Another process may be the same domain.
    [[nodiscard]] static result<std::unique_ptr<simulated_hypervisor>>
    connect(const std::string& socket, domain_id own);
    ~simulated_hypervisor() override;

    [[nodiscard]] std::string_view name() const noexcept override { return "simulated"; }
    [[nodiscard]] domain_id own_domain() const noexcept override { return client_->own_domain(); }
    // A domain that was neither mapped from, nor bound to, nor attached is bad_domain: a worker
    // does not wait for its memory to be mapped. No lock, no allocation, no system call.
    void copy(std::span<dataplane::remote_copy> pieces) noexcept override;
    [[nodiscard]] result<std::unique_ptr<mapped_grants>>
    map(domain_id domain, std::span<const grant_ref> pages) override;
    [[nodiscard]] result<std::unique_ptr<event_channel>> bind(domain_id domain,
                                                              event_port port) override;
    [[nodiscard]] xen::store& store() noexcept override { return store_; }

    // Beyond the seam; the control thread's but for counts(). From now on grants of that domain can
    // be copied; memory of domains that died is let go.
    result<void> attach(domain_id domain);
    [[nodiscard]] hypervisor_counts counts() const noexcept;
    // Of this process, before the server's.
    void set_faults(const faults& f);
    void set_costs(hypervisor_costs c);

private:
    class copying;
    using status = grant_status;

    // Of one thread, or of a few where there are more than slots. Two numbers of those within
    // copy(): new ones enter under the other while the control side waits for one to become 0.
    struct alignas(64) slot {
        std::array<std::atomic<std::uint32_t>, 2> inside{};
        std::atomic<std::uint64_t> calls{0};
        std::atomic<std::uint64_t> pieces{0};
        std::atomic<std::uint64_t> failed{0};
        std::atomic<std::uint64_t> bytes{0};
        std::atomic<std::uint64_t> hypercalls{0};
    };
    // All that is rare about copying; none of it, usually.
    struct peculiarities {
        std::unique_ptr<fault_plan> own;
        std::unique_ptr<fault_plan> server;
        hypervisor_costs costs;
    };
    static constexpr std::size_t slots = 64;
    static constexpr std::size_t domains = 0x8000;

    explicit simulated_hypervisor(std::shared_ptr<client> c);
    [[nodiscard]] slot& own_slot() noexcept;
    [[nodiscard]] status copy_piece(const dataplane::remote_copy& piece) const noexcept;
    [[nodiscard]] status copy_peculiarly(const dataplane::remote_copy& piece,
                                         const peculiarities& p) const noexcept;
    // Until every copy() that began before has returned.
    void wait_for_copies() noexcept;
    void publish_peculiarities();
    result<std::chrono::microseconds> strike(operation on, domain_id d,
                                             std::span<const std::uint32_t> references);

    std::shared_ptr<client> client_;
    simulated_store store_;
    std::unique_ptr<std::atomic<const domain_memory*>[]> memory_; // by domain; null: not attached
    std::map<domain_id, std::unique_ptr<domain_memory>> attached_;
    std::atomic<const peculiarities*> peculiar_{nullptr};
    std::unique_ptr<peculiarities> kept_;
    faults own_faults_;
    faults server_faults_;
    hypervisor_costs costs_;
    std::atomic<unsigned> turn_{0};
    std::array<slot, slots> slots_{};
    std::atomic<std::uint64_t> notifications_{0};
};

} // namespace strait::xen::simulated
