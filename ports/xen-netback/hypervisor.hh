// SPDX-License-Identifier: BSD-3-Clause
// What Xen gives a domain that serves devices: copies between granted pages, mappings of them,
// event channels and the store. One interface, two implementations: libxen.hh in a Xen domain,
// simulated/ anywhere. What a netif ring is, or a vif, is not known here.
#pragma once

#include "dataplane/remote.hh"
#include "ports/port.hh"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strait::xen {

enum class domain_id : std::uint16_t {};
// An entry of a domain's grant table.
enum class grant_ref : std::uint32_t {};
// An event channel as the domain that offers it numbers it.
enum class event_port : std::uint32_t {};

inline constexpr std::size_t page_size = 4096;

using ports::result;

// Pages of another domain, mapped side by side, readable and writable, until destroyed. They stay
// readable when that domain dies: it is this mapping that keeps them. Control side only, both
// mapping and unmapping; a worker may use what is mapped.
class mapped_grants {
public:
    virtual ~mapped_grants() = default;
    [[nodiscard]] virtual void* base() const noexcept = 0;
};

// This domain's end of an event channel. Destroyed by the control side only, since it may wait.
class event_channel {
public:
    virtual ~event_channel() = default;
    // Any thread, one at a time; does not wait. Nothing happens when the other end is gone.
    virtual void notify() noexcept = 0;
    // Readable when the other end has notified since the last take().
    [[nodiscard]] virtual int descriptor() const noexcept = 0;
    // Whether the other end has notified since the last call; it may then notify again.
    [[nodiscard]] virtual bool take() noexcept = 0;
};

// A transaction of the store; none: each operation is one of its own.
enum class transaction : std::uint32_t { none = 0 };

struct watch_event {
    std::string path;  // what changed, or the watched path itself, when it is set up or lost
    std::string token; // as given to watch()
};

// The store (xenstore): a tree of short texts. Every call may wait for its daemon: one thread,
// never a worker's. Paths are absolute or relative to the own domain's folder.
class store {
public:
    virtual ~store() = default;

    // Nothing when there is no such node, or when it is not for us to see.
    [[nodiscard]] virtual result<std::optional<std::string>>
    read(const std::string& path, transaction t = transaction::none) = 0;
    // Names of the nodes below; nothing when there is no such node.
    [[nodiscard]] virtual result<std::optional<std::vector<std::string>>>
    list(const std::string& path, transaction t = transaction::none) = 0;
    virtual result<void> write(const std::string& path, std::string_view value,
                               transaction t = transaction::none) = 0;
    // With all below it. No error when it was not there.
    virtual result<void> remove(const std::string& path, transaction t = transaction::none) = 0;

    [[nodiscard]] virtual result<transaction> begin() = 0;
    // False: somebody else changed what the transaction read or wrote; nothing was done, begin
    // again.
    [[nodiscard]] virtual result<bool> commit(transaction t) = 0;
    virtual void abandon(transaction t) noexcept = 0;

    // From now on, changes of the node and of all below it are events, beginning with one at once.
    // "@releaseDomain" tells of domains that ended.
    virtual result<void> watch(const std::string& path, const std::string& token) = 0;
    virtual void unwatch(const std::string& path, const std::string& token) noexcept = 0;
    // Readable when next_event() has something.
    [[nodiscard]] virtual int descriptor() const noexcept = 0;
    [[nodiscard]] virtual std::optional<watch_event> next_event() = 0;
};

// Destroyed after all that came from it. copy() is for any worker, everything else for one thread.
class hypervisor : public dataplane::remote_copier {
public:
    virtual ~hypervisor() = default;

    // "libxen" or "simulated".
    [[nodiscard]] virtual std::string_view name() const noexcept = 0;
    [[nodiscard]] virtual domain_id own_domain() const noexcept = 0;
    // May wait while the hypervisor pages in what was granted.
    [[nodiscard]] virtual result<std::unique_ptr<mapped_grants>>
    map(domain_id domain, std::span<const grant_ref> pages) = 0;
    // Our end of the channel that `domain` offers as `port`.
    [[nodiscard]] virtual result<std::unique_ptr<event_channel>> bind(domain_id domain,
                                                                      event_port port) = 0;
    [[nodiscard]] virtual xen::store& store() noexcept = 0;
};

} // namespace strait::xen
