// SPDX-License-Identifier: BSD-3-Clause
// Keeps the configuration beyond the process: after each request that changes it, what is other
// than before goes to the store; at start, what the store has is made again. What cannot be made,
// as a NIC is gone, say, stays in the store, is shown with the reason, and is tried again.
#pragma once

#include "control/acl_list.hh"
#include "control/bindings.hh"
#include "control/config_kinds.hh"
#include "control/mirror_list.hh"
#include "control/rpc.hh"
#include "control/store_writer.hh"
#include "control/switch.hh"
#include "control/xen_adoption.hh"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// What keys of leases, which are kept and no part of documents, begin with.
inline constexpr std::string_view lease_key = "leases ";

// All calls from the control thread.
class configuration : public change_keeper {
public:
    // All outlive it. `handler` has the methods that kinds name.
    configuration(virtual_switch& sw, acl_list& acls, mirror_list& mirrors, xen_adoption& adoption,
                  const rpc& handler);
    ~configuration() override;
    configuration(const configuration&) = delete;
    configuration& operator=(const configuration&) = delete;

    // Makes what was read, before ports serve. How much of it.
    struct restored {
        std::size_t made{0};
        std::size_t failed{0};
    };
    restored restore(const store_contents& read);
    // From here on all that changes is kept there; `handler` is to ask this one.
    void keep_in(std::unique_ptr<store_writer> writer);
    [[nodiscard]] bool is_kept() const noexcept { return writer_ != nullptr; }
    [[nodiscard]] std::string path() const { return writer_ ? writer_->path() : std::string{}; }
    // Changes that no request made, twice a second; and what may be possible by now.
    void look(std::chrono::steady_clock::time_point now);

    [[nodiscard]] outcome<std::optional<boost::json::value>>
    before(const method& m, const boost::json::object& parameters) override;
    void after(const method& m) noexcept override;
    void when_kept(kept_or_not then) override;

    // What is configured and is not there.
    struct missing {
        const config_kind* kind; // null: a line
        boost::json::object record;
        std::string text; // of a line
        std::string why;
        std::string what; // "port up0"
    };
    [[nodiscard]] const std::map<std::string, missing>& all_missing() const noexcept
    {
        return missing_;
    }
    // The next changes, of so many bytes, can be kept.
    [[nodiscard]] outcome<void> make_room(std::size_t bytes)
    {
        return writer_ ? reserve(bytes) : outcome<void>{};
    }
    // Calls it when what the request that is carried out changes is kept, or at once if nothing is.
    void once_kept(std::function<void()> call);
    // Why a port may not be renamed so: what is configured and not there has that name, or belongs
    // to the port by its name.
    [[nodiscard]] outcome<void> may_rename(const std::string& from, const std::string& to) const;
    // It is not wanted any more.
    void forget(const std::string& key);
    [[nodiscard]] const config_sources& sources() const noexcept { return sources_; }
    [[nodiscard]] outcome<void> make(const config_kind& kind, const boost::json::object& record);

private:
    void restore_kind(const config_kind& kind, const store_contents& read, restored& done);
    void restore_lines_of(const virtual_switch::bridge& b, const store_contents& read,
                          restored& done);
    void restore_leases(const store_contents& read);
    void miss(const std::string& key, missing what);
    void lose(const virtual_switch::port_failure& lost);
    void retry();
    [[nodiscard]] outcome<void> make_line(const std::string& key, const missing& m);
    void tell_if_port(const missing& m);
    void bridge_comes(virtual_switch::bridge& b);
    [[nodiscard]] std::optional<std::uint16_t> number_of_adopted(const std::string& port,
                                                                 const std::string& on) const;

    void collect();
    void collect_leases();
    void forget_orphans();
    [[nodiscard]] bool is_wanted(const std::string& parent) const;
    [[nodiscard]] outcome<void> reserve(std::size_t more);
    void push();

    virtual_switch& switch_;
    config_sources sources_;
    xen_adoption& adoption_;
    mirror_list& mirrors_;
    const rpc& rpc_;
    std::unique_ptr<store_writer> writer_; // null: nothing is kept
    bool collects_again_{false};           // what was collected could not be written
    store_changes batch_;                  // what is to be pushed
    std::vector<std::function<void()>> once_kept_;
    std::vector<std::map<std::string, std::string>> stored_; // by kind, what the store has
    std::map<std::string, std::string> stored_leases_;
    std::map<std::string, missing> missing_;
    std::uint64_t seen_version_{0}; // of the switch
    mutable std::chrono::steady_clock::time_point next_try_{};
};

} // namespace strait::control
