// SPDX-License-Identifier: BSD-3-Clause
// Users and groups of the system, as operators name them.
#pragma once

#include "ports/error.hh"

#include <optional>
#include <string_view>

#include <sys/types.h>

namespace strait::control {

struct account {
    std::optional<uid_t> user{};
    std::optional<gid_t> group{};
};

// "USER:GROUP", either of them alone, by name or number.
[[nodiscard]] ports::result<account> find_account(std::string_view text);
// The group that a user's processes begin with, if the system knows the user.
[[nodiscard]] std::optional<gid_t> group_of(uid_t user);

} // namespace strait::control
