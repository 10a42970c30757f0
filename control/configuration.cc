// SPDX-License-Identifier: BSD-3-Clause
// What has changed, to the store. Restoring is configuration_restore.cc's.
#include "control/configuration.hh"

#include "control/config_lines.hh"
#include "control/ip_text.hh"
#include "control/log.hh"
#include "control/methods.hh"
#include "control/parameters.hh"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

namespace strait::control {

namespace json = boost::json;
using json::object;

namespace {

using steady = std::chrono::steady_clock;

// Flows, groups and meters say themselves what they changed.
bool is_of_lines(const method& m)
{
    return m.name.starts_with("flow.") || m.name.starts_with("group.") ||
           m.name.starts_with("meter.");
}

std::string lease_prefix(const std::string& port)
{
    return std::string{lease_key} + port + ' ';
}

object lease_record(const std::string& port, const bindings::station& s, const bindings::address& a)
{
    object r{{"port", port}, {"mac", s.mac.to_string()}, {"address", to_text(a.is.address)}};
    if (s.vlan) {
        r["vlan"] = *s.vlan;
    }
    if (a.until) {
        const auto left = *a.until - bindings::clock::now();
        const auto when = std::chrono::system_clock::now() +
                          std::chrono::duration_cast<std::chrono::system_clock::duration>(left);
        r["until"] =
            std::chrono::duration_cast<std::chrono::seconds>(when.time_since_epoch()).count();
    }
    return r;
}

// Of a method that removes one thing, which it names.
struct removal {
    std::string_view method;
    std::string_view kind;
};
constexpr std::array<removal, 5> removals{{{"bridge.del", "bridges"},
                                           {"queue.unpin", "pins"},
                                           {"port.del", "ports"},
                                           {"acl.del", "acls"},
                                           {"mirror.del", "mirrors"}}};

} // namespace

configuration::configuration(virtual_switch& sw, acl_list& acls, mirror_list& mirrors,
                             xen_adoption& adoption, const rpc& handler)
    : switch_{sw},
      sources_{sw, acls, mirrors, adoption},
      adoption_{adoption},
      mirrors_{mirrors},
      rpc_{handler},
      stored_(config_kinds().size())
{
    switch_.when_bridge_comes([this](virtual_switch::bridge& b) { bridge_comes(b); });
    adoption_.ask_for_numbers([this](const std::string& port, const std::string& on) {
        return number_of_adopted(port, on);
    });
}

configuration::~configuration()
{
    switch_.when_bridge_comes({});
    adoption_.ask_for_numbers({});
}

void configuration::keep_in(std::unique_ptr<store_writer> writer)
{
    writer_ = std::move(writer);
    collects_again_ = true;
    look({});
}

// The room that a request takes, and what waits to be pushed.
outcome<void> configuration::reserve(std::size_t more)
{
    return writer_->reserve(batch_.text().size() + more + store_writer::room_of_request);
}

void configuration::push()
{
    if (writer_ && !batch_.empty()) {
        writer_->push(batch_);
        batch_.clear();
    }
}

// Its flows ask before they change, from now on; what others of its name had is no more.
void configuration::bridge_comes(virtual_switch::bridge& b)
{
    if (writer_) {
        put_all(batch_, b.name, *b.flows);
    }
    b.flows->set_keeper([this, name = b.name](const changed_flows& what) -> outcome<void> {
        if (!writer_) {
            return {};
        }
        store_changes some;
        put_changes(some, name, what);
        if (auto room = reserve(some.text().size()); room.has_error()) {
            return room;
        }
        batch_.append(some);
        return {};
    });
}

outcome<std::optional<json::value>> configuration::before(const method& m, const object& parameters)
{
    if (auto room = reserve(0); room.has_error()) {
        return room.error();
    }
    const auto found = std::ranges::find(removals, m.name, &removal::method);
    if (found == removals.end() || missing_.empty()) {
        return std::optional<json::value>{};
    }
    // What is not there can be removed nevertheless.
    const std::string key = key_of(*find_config_kind(found->kind), parameters);
    if (!missing_.contains(key)) {
        return std::optional<json::value>{};
    }
    forget(key);
    return std::optional<json::value>{object{{"removed", true}}};
}

void configuration::after(const method& m) noexcept
{
    try {
        if (!is_of_lines(m)) {
            collect();
            collect_leases();
        }
        if (m.name.ends_with(".del")) {
            forget_orphans();
        }
        push();
        for (auto& call : std::exchange(once_kept_, {})) {
            writer_->wait(writer_->last(),
                          [call = std::move(call)](const std::optional<std::string>& why) {
                              if (!why) {
                                  call();
                              }
                          });
        }
    } catch (const std::exception& e) { // there is no memory
        collects_again_ = true;
        log(log_level::error, "store", std::string{"what was changed is kept later: "} + e.what());
    }
}

void configuration::when_kept(kept_or_not then)
{
    writer_->wait(writer_->last(), std::move(then));
}

// Kinds but leases: what is other than the store has it.
void configuration::collect()
{
    const auto kinds = config_kinds();
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        const config_kind& kind = kinds[i];
        std::map<std::string, std::string> now;
        kind.list(sources_, [&](object record) {
            now.emplace(key_of(kind, record), json::serialize(record));
        });
        std::map<std::string, std::string>& before = stored_[i];
        for (auto old = before.begin(); old != before.end();) {
            if (now.contains(old->first) || missing_.contains(old->first)) {
                ++old;
                continue;
            }
            batch_.erase(old->first);
            if (kind.name == "bridges") {
                erase_all(batch_, old->first.substr(kind.name.size() + 1));
            }
            old = before.erase(old);
        }
        for (auto& [key, text] : now) {
            if (kind.name == "adopted_ports" && missing_.contains(key)) {
                continue; // its settings are still to come
            }
            missing_.erase(key);
            std::string& old = before[key];
            if (old != text) {
                batch_.put(key, text);
                old = std::move(text);
            }
        }
    }
    seen_version_ = switch_.version();
    collects_again_ = false;
}

void configuration::collect_leases()
{
    for (const std::string& port : switch_.take_changed_bindings()) {
        std::map<std::string, std::string> now;
        if (const auto* const stations = switch_.all_bindings().of(port)) {
            for (const bindings::station& s : *stations) {
                for (const bindings::address& a : s.addresses) {
                    if (!a.leased) {
                        continue;
                    }
                    now.emplace(lease_prefix(port) + s.mac.to_string() + ' ' +
                                    (s.vlan ? std::to_string(*s.vlan) : "-") + ' ' +
                                    to_text(a.is.address),
                                json::serialize(lease_record(port, s, a)));
                }
            }
        }
        const std::string prefix = lease_prefix(port);
        auto old = stored_leases_.lower_bound(prefix);
        while (old != stored_leases_.end() && old->first.starts_with(prefix)) {
            if (now.contains(old->first)) {
                ++old;
                continue;
            }
            batch_.erase(old->first);
            old = stored_leases_.erase(old);
        }
        for (auto& [key, text] : now) {
            std::string& before = stored_leases_[key];
            if (before != text) {
                batch_.put(key, text);
                before = std::move(text);
            }
        }
    }
}

void configuration::look(steady::time_point now)
{
    constexpr std::chrono::seconds interval{5};
    for (const auto& lost : switch_.lost_ports()) {
        lose(lost);
        next_try_ = now + interval; // halfway out, a device is there without a driver
    }
    if (!missing_.empty() && now >= next_try_) {
        next_try_ = now + interval;
        retry();
    }
    if (!writer_) {
        (void)switch_.take_changed_bindings();
        return;
    }
    if (reserve(0).has_error()) {
        return; // when there is room again
    }
    if (collects_again_ || seen_version_ != switch_.version()) {
        collect();
    }
    collect_leases();
    push();
}

void configuration::once_kept(std::function<void()> call)
{
    if (writer_) {
        once_kept_.push_back(std::move(call));
    } else {
        call();
    }
}

outcome<void> configuration::may_rename(const std::string& from, const std::string& to) const
{
    for (const std::string_view kind : {"ports ", "adopted_ports "}) {
        if (const auto found = missing_.find(std::string{kind} + to); found != missing_.end()) {
            return failure{failure_kind::exists,
                           "port " + to +
                               " is configured already, and is not there: " + found->second.why};
        }
    }
    for (const auto& [key, m] : missing_) {
        if (m.kind != nullptr &&
            std::ranges::count(parents_of(*m.kind, m.record), "ports " + from) > 0) {
            return failure{failure_kind::in_use, "what is configured for port " + from +
                                                     " is not all there: " + m.what + ": " + m.why +
                                                     "; mend or remove that first"};
        }
    }
    return {};
}

void configuration::forget(const std::string& key)
{
    if (missing_.erase(key) > 0 && writer_) {
        batch_.erase(key);
        for (auto& stored : stored_) {
            stored.erase(key);
        }
    }
}

// What belongs to a port or bridge that nobody wants any more.
void configuration::forget_orphans()
{
    for (bool again = true; again;) {
        again = false;
        for (const auto& [key, m] : missing_) {
            const auto parents =
                m.kind != nullptr
                    ? parents_of(*m.kind, m.record)
                    : std::vector<std::string>{"bridges " + *text_of(m.record, "bridge")};
            if (!std::ranges::all_of(parents,
                                     [this](const std::string& p) { return is_wanted(p); })) {
                forget(std::string{key});
                again = true;
                break;
            }
        }
    }
}

bool configuration::is_wanted(const std::string& parent) const
{
    const auto blank = parent.find(' ');
    const std::string kind = parent.substr(0, blank);
    const std::string name = parent.substr(blank + 1);
    const bool is_there =
        kind == "bridges" ? switch_.bridges().contains(name) : switch_.ports().contains(name);
    return is_there || missing_.contains(parent) ||
           (kind == "ports" && missing_.contains("adopted_ports " + name));
}

} // namespace strait::control
