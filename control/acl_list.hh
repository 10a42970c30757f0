// SPDX-License-Identifier: BSD-3-Clause
// Rule sets by name, and which ports have them. Whatever changes here, the bridges' hidden tables
// are made anew of it (acl_stages.hh).
#pragma once

#include "control/acl_stages.hh"
#include "control/failure.hh"
#include "control/switch.hh"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace strait::control {

// All calls from the control thread.
class acl_list {
public:
    static constexpr std::size_t most_rules_of_port = 32'768; // of all its sets, each mask counted

    explicit acl_list(virtual_switch& sw); // which outlives it
    ~acl_list();
    acl_list(const acl_list&) = delete;
    acl_list& operator=(const acl_list&) = delete;

    // A new one, or all that a set has, in its place: at once for all ports that have it.
    outcome<void> put(const std::string& name, bool stateful, std::vector<acl_rule> rules);
    // False: there is none. Refused while ports have it.
    outcome<bool> remove(const std::string& name);
    // Behind those that the port has. All or none.
    outcome<void> attach(const std::vector<std::string>& names, const std::string& port);
    outcome<void> detach(const std::vector<std::string>& names, const std::string& port);
    // A port has another name, and its sets still.
    void rename_port(const std::string& from, const std::string& to);

    using sets_by_name = std::map<std::string, std::shared_ptr<const acl_set>>;
    [[nodiscard]] const sets_by_name& all() const noexcept { return sets_; }
    // Of each port that has some, its sets in their order.
    [[nodiscard]] const std::map<std::string, std::vector<std::string>>& attached() const noexcept
    {
        return attached_;
    }
    [[nodiscard]] std::vector<std::string> ports_with(const std::string& name) const;
    // By the ids of rules.
    struct traffic {
        std::uint64_t packets{0};
        std::uint64_t bytes{0};
    };
    [[nodiscard]] std::unordered_map<std::uint32_t, traffic> count() const;

private:
    using name_list = std::vector<std::string>;
    [[nodiscard]] outcome<void> check(const std::string& port, const name_list& of_port,
                                      const acl_set* changed = nullptr) const;
    void apply(const std::string& bridge);
    void forget_connections(const virtual_switch::port& p) const;
    void port_goes(const virtual_switch::port& p);

    virtual_switch& switch_;
    sets_by_name sets_;
    std::map<std::string, name_list> attached_; // by port; each has one or more
    std::uint32_t last_id_{0};
};

} // namespace strait::control
