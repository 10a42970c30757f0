// SPDX-License-Identifier: BSD-3-Clause
// A simulated domain seen from inside: its pages, which it grants, event channels that it offers,
// and the store with its own rights. What a front end of a device does with them is not known here.
#pragma once

#include "ports/xen-netback/simulated/client.hh"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace strait::xen::simulated {

// One thread. Destroyed after the channels it offered; the domain ends with the last of its guests,
// or by the tool stack.
class simulated_guest {
public:
    // Becomes that domain, which is made with this layout if it does not exist.
    [[nodiscard]] static result<std::unique_ptr<simulated_guest>>
    connect(const std::string& socket, domain_id own, memory_layout layout = {});

    [[nodiscard]] domain_id own_domain() const noexcept { return client_->own_domain(); }
    // False once the tool stack or the simulator ended it.
    [[nodiscard]] bool alive() const noexcept { return memory_.alive(); }

    // `count` pages side by side, all zeros, the guest's to read and write like any memory.
    [[nodiscard]] result<std::byte*> allocate(std::uint32_t count = 1);
    // What allocate() gave, with the same count. No page of it may be granted any more: whoever it
    // is granted to would go on writing into it.
    void free(std::byte* pages, std::uint32_t count = 1);

    // Lets a domain use the page that `page` points into, for reading only or for writing, too.
    // Nothing when the table is full. No system call but once in 256 grants.
    [[nodiscard]] std::optional<grant_ref> grant(domain_id to, const std::byte* page,
                                                 bool only_read = false);
    // False: it is in use, and stays granted. Otherwise the reference may be given out again.
    [[nodiscard]] bool revoke(grant_ref r);
    // For a driver that keeps references and reuses them: take one, then grant and end as often as
    // wanted; put it back in the end.
    [[nodiscard]] std::optional<grant_ref> reserve();
    void regrant(grant_ref r, domain_id to, const std::byte* page, bool only_read = false) noexcept;
    [[nodiscard]] bool end(grant_ref r) const noexcept { return memory_.revoke(number(r)); }
    void unreserve(grant_ref r) { free_grants_.push_back(number(r)); }

    // An event channel that only `to` may bind, and our end of it. It is closed with that end.
    struct offered {
        event_port port;
        std::unique_ptr<event_channel> end;
    };
    [[nodiscard]] result<offered> offer(domain_id to);

    [[nodiscard]] simulated_store& store() noexcept { return store_; }
    // The whole of it, for guests that do what no driver does.
    [[nodiscard]] const domain_memory& memory() const noexcept { return memory_; }

private:
    simulated_guest(std::shared_ptr<client> c, domain_memory m)
        : client_{std::move(c)}, store_{client_}, memory_{std::move(m)}
    {}
    [[nodiscard]] static std::uint32_t number(grant_ref r) noexcept
    {
        return static_cast<std::uint32_t>(r);
    }
    [[nodiscard]] std::uint32_t frame_of(const std::byte* page) const noexcept;

    std::shared_ptr<client> client_;
    simulated_store store_;
    domain_memory memory_;
    std::vector<std::uint32_t> free_grants_;
};

} // namespace strait::xen::simulated
