// SPDX-License-Identifier: BSD-3-Clause
// What rule sets become: rules of a bridge's hidden tables (dataplane/flow/hidden.hh), one stage
// for what ports send, one for what they are sent. Names, files and attaching are acl_list.hh's
// business.
#pragma once

#include "control/acl_text.hh"
#include "control/bridge_flows.hh"
#include "dataplane/types.hh"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace strait::control {

struct acl_set {
    std::string name;
    bool stateful{true};
    std::vector<acl_rule> rules;
    std::vector<std::uint32_t> ids; // of each rule, from 1; no other's, of any set
};

// A port with its sets, all stateful or none of them.
struct acl_port {
    flow::port_number number{0};
    dataplane::port_index index{};                    // of its zone, too
    std::vector<std::shared_ptr<const acl_set>> sets; // the first that says something decides
};

// Of connections that rules allowed; and one that they do not allow any more.
inline constexpr std::uint32_t acl_mark_blocked = 1;
inline constexpr std::uint32_t acl_mark_from = 2; // begun by the port itself

// `which` is stage::acl_from or stage::acl_to.
[[nodiscard]] hidden_stage compile_acls(std::span<const acl_port> ports, flow::stage which);

// The rule of a set that one of these was made of; 0: of none.
[[nodiscard]] std::uint32_t acl_rule_of(const flow::rule& r) noexcept;

} // namespace strait::control
