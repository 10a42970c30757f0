// SPDX-License-Identifier: BSD-3-Clause
// The store's tree: nodes, who may see and change them, transactions, watches, quotas, as xenstored
// has them. No socket here: who asks is a number, and events go to a function. One thread.
#pragma once

#include "ports/xen-netback/hypervisor.hh"

#include <boost/system/result.hpp>

#include <cstdint>
#include <deque>
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

// For each domain but domain 0, whose word is not counted. xenstored's own numbers, and where it
// compares them.
struct store_quotas {
    std::size_t nodes{1000};       // in a transaction one less
    std::size_t watches{128};      // and one more
    std::size_t entry_bytes{2048}; // of a node, with its header and permissions: less than that
    std::size_t transactions{10};  // and one more
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
    // EPERM, EAGAIN.
    template <typename T>
    using outcome = boost::system::result<T>;

    static constexpr std::size_t most_payload = 4096; // of a request: its texts, and their ends
    static constexpr std::size_t most_path = 2048;    // behind "/local/domain/N/", if it begins so

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

    // Also of "@introduceDomain" and "@releaseDomain", which are domain 0's to hear of, and whoever
    // it lets by set_permissions().
    outcome<void> watch(caller c, const std::string& path, const std::string& token);
    outcome<void> unwatch(caller c, const std::string& path, const std::string& token);
    // A domain begins or ends to be; domain 0 always is. It ends with all nodes that it owns and
    // all rights to others', so that a later one of its number has none of them.
    void introduce(domain_id d);
    void release(domain_id d);

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
    // A node that a transaction has met, and what it shall be. It is met once: others' changes
    // are not seen, but make the commit fail.
    struct touched {
        std::string path;
        std::uint64_t generation{0}; // when it was met; 0: was not there
        permissions before{};
        std::optional<node> now{};
        bool changed{false};
        enum class event : std::uint8_t { none, exact, with_above } due{event::none};
    };
    struct open_transaction {
        client owner;
        domain_id domain;
        std::deque<touched> nodes{}; // in the order in which they were met
        std::map<std::string, std::size_t> index{};
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
    // Watches of the node, and of those above unless `exact`. Who could see it before, or can see
    // it or the folder it is in, is told.
    void fire(const std::string& path, bool exact, const permissions& before) const;
    void announce(const std::string& special) const;
    void send(const watcher& w, const std::string& path) const;
    outcome<void> set_special(caller c, const std::string& name, permissions p);
    void put(const std::string& path, std::optional<node> n);
    [[nodiscard]] static bool may(domain_id d, const permissions& p, access wanted);

    sink events_;
    store_quotas quotas_;
    std::map<std::string, node> nodes_;
    std::map<domain_id, std::size_t> owned_;
    std::set<domain_id> domains_;
    std::map<std::string, permissions> specials_; // who hears of "@releaseDomain"
    std::map<std::uint32_t, open_transaction> transactions_;
    std::vector<watcher> watchers_; // in the order they were set
    std::uint64_t generation_{0};
    std::uint32_t last_transaction_{0};
};

} // namespace strait::xen::simulated
