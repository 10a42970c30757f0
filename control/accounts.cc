// SPDX-License-Identifier: BSD-3-Clause
// Asking the system's databases of users and groups.
#include "control/accounts.hh"

#include "ports/number.hh"

#include <array>
#include <string>

#include <grp.h>
#include <pwd.h>

namespace strait::control {

using ports::error;
using ports::result;

namespace {

constexpr std::size_t account_buffer = 16384;

// To the kernel the highest number is no account's: "leave it as it is".
constexpr unsigned no_account = ~0U;

result<uid_t> find_user(const std::string& name)
{
    if (const auto number = to_number<unsigned>(name); number && *number != no_account) {
        return *number;
    }
    std::array<char, account_buffer> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
        found == nullptr) {
        return error{"there is no user " + name};
    }
    return found->pw_uid;
}

result<gid_t> find_group(const std::string& name)
{
    if (const auto number = to_number<unsigned>(name); number && *number != no_account) {
        return *number;
    }
    std::array<char, account_buffer> buffer{};
    group entry{};
    group* found = nullptr;
    if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
        found == nullptr) {
        return error{"there is no group " + name};
    }
    return found->gr_gid;
}

} // namespace

result<account> find_account(std::string_view text)
{
    const auto colon = text.find(':');
    const std::string user{text.substr(0, colon)};
    const std::string group{colon == std::string_view::npos ? "" : text.substr(colon + 1)};
    if (user.empty() && group.empty()) {
        return error{"\"" + std::string{text} + "\" names nobody: USER:GROUP, USER or :GROUP do"};
    }
    account found;
    if (!user.empty()) {
        const auto id = find_user(user);
        if (id.has_error()) {
            return id.error();
        }
        found.user = *id;
    }
    if (!group.empty()) {
        const auto id = find_group(group);
        if (id.has_error()) {
            return id.error();
        }
        found.group = *id;
    }
    return found;
}

std::optional<gid_t> group_of(uid_t user)
{
    std::array<char, account_buffer> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwuid_r(user, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
        return std::nullopt;
    }
    return found->pw_gid;
}

} // namespace strait::control
