// SPDX-License-Identifier: BSD-3-Clause
// The ring by which a guest's driver says how packets are to be spread over its queues (Xen's
// public io/netif.h, "Control messages"). Control side only.
#pragma once

#include "dataplane/rcu.hh"
#include "ports/xen-netback/hash.hh"
#include "ports/xen-netback/hypervisor.hh"
#include "ports/xen-netback/netif.hh"
#include "ports/xen-netback/queue.hh"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace strait::xen {

class control_ring {
public:
    // Messages answered by one call of serve(): a guest can ask for no more of a thread's time.
    static constexpr std::uint32_t budget = 16;

    // Given what the guest asked for, before the guest is told that it is done: a text that
    // restore() takes. False: it could not be kept.
    using keeper = std::function<bool(const std::string&)>;

    // What it refers to outlives it. It changes the hash of `rings`.
    control_ring(std::unique_ptr<mapped_grants> page, std::unique_ptr<event_channel> channel,
                 ring_set& rings, dataplane::rcu_domain& rcu, keeper keep = {}) noexcept;

    // What the guest asked of another process. False, and nothing changed: the text is not of a
    // keeper's, or names queues that are not there.
    [[nodiscard]] bool restore(const std::string& text);

    // Readable when there may be messages.
    [[nodiscard]] int descriptor() const noexcept { return channel_->descriptor(); }
    // Answers what is there. True if there is more.
    [[nodiscard]] bool serve() noexcept;
    // Why the ring is not served any more; null while it is.
    [[nodiscard]] const char* fault() const noexcept { return fault_; }

private:
    struct reply {
        std::uint32_t status;
        std::uint32_t data;
    };
    [[nodiscard]] reply handle(const netif::control_request& r);
    [[nodiscard]] reply set_key(const netif::control_request& r) noexcept;
    [[nodiscard]] reply set_mapping(const netif::control_request& r) noexcept;
    [[nodiscard]] bool read_grant(std::uint32_t grant, void* to, std::uint16_t size) noexcept;
    void publish();
    void keep() noexcept;

    const std::unique_ptr<mapped_grants> page_;
    const std::unique_ptr<event_channel> channel_;
    ring_set& rings_;
    dataplane::rcu_domain& rcu_;
    const netif::control_ring ring_;
    std::uint32_t taken_;
    const keeper keep_;
    bool changed_{false}; // since it was kept
    std::string kept_;
    bool toeplitz_{false};
    hash_config wanted_;
    const char* fault_{nullptr};
};

} // namespace strait::xen
