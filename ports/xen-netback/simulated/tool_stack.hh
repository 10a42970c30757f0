// SPDX-License-Identifier: BSD-3-Clause
// What Xen's tool stack does around guests and their vifs, as domain 0: it makes domains, and
// writes what libxl writes into the store. It does not wait for back ends; who needs that looks at
// a state.
#pragma once

#include "ports/xen-netback/simulated/client.hh"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace strait::xen::simulated {

// As in a domain's configuration ("vif = [...]").
struct vif_options {
    domain_id backend{0};
    std::string script{"/etc/xen/scripts/vif-bridge"};
    std::string bridge{"xenbr0"};
    std::string vifname{};              // empty: none
    std::optional<std::uint32_t> mtu{}; // bytes; not told to the back end if 1500
    struct limit {
        std::uint64_t bytes; // in each interval
        std::uint32_t interval_us;
    };
    std::optional<limit> rate{};
};

class tool_stack {
public:
    [[nodiscard]] static result<std::unique_ptr<tool_stack>> connect(const std::string& socket);

    // The domain, and its folder with its parts and their permissions.
    result<void> create_domain(domain_id d, const std::string& name, memory_layout layout = {});
    // Only the folder: for a domain that made itself by connecting.
    result<void> write_domain(domain_id d, const std::string& name);
    // `xl destroy`: destroy_vif() for each, the domain's folder, then the domain itself if it still
    // is. The back ends' folders stay until forget_domain().
    result<void> destroy_domain(domain_id d);
    // What is left of it in the store, vifs and all.
    result<void> forget_domain(domain_id d);

    // Both folders at state 1. mac: "00:16:3e:00:00:01".
    result<void> add_vif(domain_id d, unsigned handle, const std::string& mac,
                         const vif_options& options = {});
    // `xl network-detach`: online 0, state 5; the back end goes to 6, then forget_vif() is due.
    result<void> detach_vif(domain_id d, unsigned handle);
    // As in `xl destroy`: in the same moment, the frontend's folder goes.
    result<void> destroy_vif(domain_id d, unsigned handle);
    // Removes both folders, and what is left empty above them.
    result<void> forget_vif(domain_id d, unsigned handle);

    [[nodiscard]] static std::string frontend_path(domain_id d, unsigned handle);
    [[nodiscard]] static std::string backend_path(domain_id d, unsigned handle,
                                                  domain_id backend = domain_id{0});

    result<void> set_faults(const faults& f);
    [[nodiscard]] simulated_store& store() noexcept { return store_; }

private:
    explicit tool_stack(std::shared_ptr<client> c) : client_{std::move(c)}, store_{client_} {}
    // Where the tool stack notes that a vif is, as libxl does under /libxl.
    [[nodiscard]] static std::string note_path(domain_id d, unsigned handle);
    [[nodiscard]] result<std::string> backend_of(domain_id d, unsigned handle);
    result<void> for_each_vif(domain_id d, const std::function<result<void>(unsigned)>& what);
    result<void> close_vif(domain_id d, unsigned handle, bool by_force);

    std::shared_ptr<client> client_;
    simulated_store store_;
};

} // namespace strait::xen::simulated
