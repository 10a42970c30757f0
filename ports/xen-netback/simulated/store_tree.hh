// SPDX-License-Identifier: BSD-3-Clause
// The store's tree: nodes, who may see and change them, transactions, watches, quotas, as xenstored
// has them. No socket here: who asks is a number, and events go to a function. One thread.
#pragma once

#include "ports/xen-netback/hypervisor.hh"

#include <boost/system/result.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace strait::xen::simulated {

enum class access : std::uint8_t { none = 0, read = 1, write = 2, both = 3 };

// "n", "r", "w" or "b" of a domain. Of a list, the first is the owner, who may do everything; what
// stands with it is for every domain that is not listed.
struct permission {
    domain_id domain{};
    access allowed{access::none};
    bool operator==(const permission&) const noexcept = default;
};
using permissions = std::vector<permission>;

// For each domain but domain 0, whose word is not counted.
struct store_quotas {
    std::size_t nodes{1000};
    std::size_t watches{128};
    std::size_t entry_bytes{2048}; // of a node: value, names of what is below, permissions
    std::size_t transactions{10};
    std::size_t permissions{5};
};

class store_tree {
public:
    // A connection; each has its own watches and transactions.
    using client = std::uint64_t;
    struct caller {
        client id;
        domain_id domain;
    };
    using sink = std::function<void(client, watch_event)>;
    // Errors are errno's, as xenstored answers them: EACCES, ENOENT, EINVAL, E2BIG, ENOSPC, EEXIST,
    // EAGAIN.
    template <typename T>
    using outcome = boost::system::result<T>;

    static constexpr std::size_t most_value = 4096; // bytes
    static constexpr std::size_t most_path = 3072;  // bytes, absolute
    static constexpr std::size_t most_relative = 2048;

    explicit store_tree(sink events, store_quotas quotas = {});

    [[nodiscard]] outcome<std::string> read(caller c, const std::string& path, transaction t);
    [[nodiscard]] outcome<std::vector<std::string>> list(caller c, const std::string& path,
                                                         transaction t);
    // Makes missing folders above it, too.
    outcome<void> write(caller c, const std::string& path, std::string_view value, transaction t);
    // As write() of nothing, but leaves alone what is there.
    outcome<void> make_folder(caller c, const std::string& path, transaction t);
    outcome<void> remove(caller c, const std::string& path, transaction t);
    [[nodiscard]] outcome<permissions> get_permissions(caller c, const std::string& path,
                                                       transaction t);
    outcome<void> set_permissions(caller c, const std::string& path, permissions p, transaction t);

    [[nodiscard]] outcome<transaction> begin(caller c);
    outcome<void> commit(caller c, transaction t); // EAGAIN: begin again
    outcome<void> abandon(caller c, transaction t);

    outcome<void> watch(caller c, const std::string& path, const std::string& token);
    outcome<void> unwatch(caller c, const std::string& path, const std::string& token);
    // "@introduceDomain" or "@releaseDomain", for domain 0's watches.
    void announce(const std::string& special);

    // The connection is gone, and its watches and transactions with it.
    void forget(client id);

    [[nodiscard]] std::size_t nodes_of(domain_id d) const;

private:
    struct node {
        std::string value;
        permissions allowed;
        std::set<std::string> children;
        std::uint64_t generation{0}; // differs whenever anything else does
    };
    struct change {
        std::string path;
        bool removed;
        permissions before; // of what was removed
    };
    struct open_transaction {
        client owner;
        domain_id domain;
        std::map<std::string, std::uint64_t> seen;        // generations; 0: was not there
        std::map<std::string, std::optional<node>> nodes; // as they shall be
        std::vector<change> changes;
    };
    struct watcher {
        caller who;
        std::string path; // absolute or special
        std::string token;
        bool relative;
    };
    // One request's view: the tree, or a transaction on it.
    class view;

    [[nodiscard]] outcome<std::string> absolute(caller c, const std::string& path) const;
    [[nodiscard]] outcome<view> open(caller c, transaction t);
    void fire(const std::vector<change>& changes);
    void send(const watcher& w, const std::string& path) const;
    void put(const std::string& path, std::optional<node> n);
    [[nodiscard]] static bool may(domain_id d, const permissions& p, access wanted);

    sink events_;
    store_quotas quotas_;
    std::map<std::string, node> nodes_;
    std::map<domain_id, std::size_t> owned_;
    std::map<std::uint32_t, open_transaction> transactions_;
    std::vector<watcher> watchers_; // in the order they were set
    std::uint64_t generation_{0};
    std::uint32_t last_transaction_{0};
};

} // namespace strait::xen::simulated
