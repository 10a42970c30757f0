// SPDX-License-Identifier: BSD-3-Clause
// What the conformance cases run on: a hypervisor, and another domain on it that grants pages,
// offers channels and writes the store. Each implementation of xen::hypervisor has a world of its
// own here.
#pragma once

#include "ports/xen-netback/hypervisor.hh"

#include <cstddef>
#include <memory>
#include <string>

namespace strait::xen::conformance {

// The other domain.
class peer {
public:
    virtual ~peer() = default;
    [[nodiscard]] virtual domain_id domain() const = 0;

    // A page, all zeros at first.
    struct page {
        std::byte* memory;
        grant_ref reference;
    };
    [[nodiscard]] virtual page grant(domain_id to, bool only_read) = 0;
    // Takes it back, and its memory away. False: somebody uses it, and it is granted still; to be
    // asked again.
    [[nodiscard]] virtual bool revoke(const page& p) = 0;

    struct offer {
        event_port port;
        std::unique_ptr<event_channel> end; // the channel is closed with it
    };
    [[nodiscard]] virtual offer offer_channel(domain_id to) = 0;

    // A connection of its own, and a folder that it may write in.
    [[nodiscard]] virtual xen::store& store() = 0;
    [[nodiscard]] virtual std::string folder() const = 0;
};

class world {
public:
    virtual ~world() = default;
    // Grants of the other domain can be copied.
    [[nodiscard]] virtual hypervisor& ours() = 0;
    [[nodiscard]] virtual peer& theirs() = 0;
};

// Throws what says why there is none.
[[nodiscard]] std::unique_ptr<world> make_world();

} // namespace strait::xen::conformance
