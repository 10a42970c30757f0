// SPDX-License-Identifier: BSD-3-Clause
// What the store has, made again; and later, what could not be made then.
#include "control/config_lines.hh"
#include "control/configuration.hh"
#include "control/ip_text.hh"
#include "control/json_text.hh"
#include "control/log.hh"
#include "control/methods.hh"
#include "control/parameters.hh"

#include <algorithm>
#include <exception>
#include <utility>

namespace strait::control {

namespace json = boost::json;
using json::object;

namespace {

constexpr std::size_t levels = 8;

std::optional<object> read_record(std::string_view text)
{
    auto value = parse_json(text, levels);
    if (value.has_error() || !value->is_object()) {
        return std::nullopt;
    }
    return std::move(value->as_object());
}

// Calls `take` for all whose keys begin so.
template <typename Take>
void for_each_of(const store_contents& read, const std::string& prefix, const Take& take)
{
    for (auto i = read.items.lower_bound(prefix);
         i != read.items.end() && i->first.starts_with(prefix); ++i) {
        take(std::string{i->first}, std::string{i->second});
    }
}

// The kind and the bridge that a line's key has.
struct line_place {
    line_kind kind;
    std::string bridge;
};

std::optional<line_place> place_of_line(std::string_view key)
{
    for (const line_kind kind : line_kinds) {
        const std::string begin = std::string{name_of(kind)} + ' ';
        if (key.starts_with(begin)) {
            const std::string_view rest = key.substr(begin.size());
            return line_place{kind, std::string{rest.substr(0, rest.find(' '))}};
        }
    }
    return std::nullopt;
}

} // namespace

outcome<void> configuration::make(const config_kind& kind, const object& record)
{
    object parameters = record;
    if (kind.name == "adopted_ports") {
        const std::string name = text_of(record, "name").value_or("");
        if (!adoption_.has_adopted(name)) {
            return failure{failure_kind::not_found,
                           "no Xen guest has such a device now, or no bridge adopts it"};
        }
        parameters.erase("number");
        parameters.erase("on");
    }
    const method& m = *find_method(methods(), kind.make);
    if (const auto wrong = check_parameters(m, parameters, wording::program)) {
        return failure{failure_kind::invalid, *wrong};
    }
    const auto done = rpc_.call(kind.make, parameters);
    return done.has_error() ? outcome<void>{done.error()} : outcome<void>{};
}

void configuration::miss(const std::string& key, missing what)
{
    const auto found = missing_.find(key);
    if (found == missing_.end() || found->second.why != what.why) {
        log(log_level::warning, "store",
            what.what + " is configured, but is not there: " + what.why +
                (found == missing_.end() ? "; it is tried again now and then" : ""));
    }
    missing_.insert_or_assign(key, std::move(what));
}

configuration::restored configuration::restore(const store_contents& read)
{
    restored done;
    mirrors_.continue_files(true);
    switch_.hold_back();
    for (const config_kind& kind : config_kinds()) {
        restore_kind(kind, read, done);
    }
    for (const auto& [name, b] : switch_.bridges()) {
        restore_lines_of(b, read, done);
    }
    restore_leases(read);
    for (const auto& failed : switch_.release()) {
        lose(failed);
    }
    mirrors_.continue_files(false);
    done.failed = missing_.size();
    return done;
}

void configuration::restore_kind(const config_kind& kind, const store_contents& read,
                                 restored& done)
{
    auto& stored = stored_[static_cast<std::size_t>(&kind - config_kinds().data())];
    for_each_of(read, std::string{kind.name} + ' ', [&](std::string key, std::string text) {
        auto record = read_record(text);
        stored[key] = text;
        outcome<void> made =
            record ? make(kind, *record)
                   : outcome<void>{failure{failure_kind::invalid, "the store has no record of it"}};
        if (made.has_value()) {
            ++done.made;
            return;
        }
        const object r = record.value_or(object{});
        miss(key, {&kind, r, {}, made.error().message, record ? describe(kind, r) : key});
    });
}

void configuration::restore_lines_of(const virtual_switch::bridge& b, const store_contents& read,
                                     restored& done)
{
    std::array<std::vector<config_line>, 3> lines;
    for (const line_kind kind : line_kinds) {
        for_each_of(read, line_prefix(kind, b.name), [&](std::string key, std::string text) {
            lines[static_cast<std::size_t>(kind)].push_back({std::move(key), std::move(text)});
            ++done.made;
        });
    }
    restore_lines(
        *b.flows, lines, [&](line_kind kind, const config_line& line, const failure& why) {
            --done.made;
            miss(line.key,
                 {nullptr,
                  {{"bridge", b.name}},
                  line.text,
                  why.message,
                  std::string{name_of(kind)} + " of bridge " + b.name + ", " + line.text + ","});
        });
}

void configuration::restore_leases(const store_contents& read)
{
    std::vector<virtual_switch::known_lease> leases;
    const auto now = std::chrono::system_clock::now();
    for_each_of(read, std::string{lease_key}, [&](std::string key, std::string text) {
        stored_leases_[std::move(key)] = text;
        const auto r = read_record(text);
        const auto mac =
            r ? dataplane::mac_address::parse(text_of(*r, "mac").value_or("")) : std::nullopt;
        const auto address = r ? parse_address(text_of(*r, "address").value_or("")) : std::nullopt;
        if (!mac || !address) {
            return;
        }
        virtual_switch::known_lease l{.port = text_of(*r, "port").value_or(""),
                                      .vlan = number_as<std::uint16_t>(*r, "vlan"),
                                      .mac = *mac,
                                      .address = *address,
                                      .until = std::nullopt};
        if (const auto until = number_of(*r, "until")) {
            const auto left =
                std::chrono::system_clock::time_point{std::chrono::seconds{*until}} - now;
            if (left <= left.zero()) {
                return;
            }
            l.until = bindings::clock::now() +
                      std::chrono::duration_cast<bindings::clock::duration>(left);
        }
        leases.push_back(std::move(l));
    });
    if (!leases.empty()) {
        switch_.restore_leases(leases);
    }
    for (const auto& [key, text] : stored_leases_) { // those that are over go from the store
        if (const auto r = read_record(text)) {
            switch_.look_again_at_bindings(text_of(*r, "port").value_or(""));
        }
    }
}

// With it goes what was made for it: all of it waits until the port can be there again.
void configuration::lose(const virtual_switch::port_failure& lost)
{
    const std::string port = "ports " + lost.port;
    std::vector<std::pair<std::string, missing>> gone;
    for (const config_kind& kind : config_kinds()) {
        kind.list(sources_, [&](const object& record) {
            const std::string key = key_of(kind, record);
            const auto parents = parents_of(kind, record);
            const bool is_port = key == port;
            if (is_port || std::ranges::find(parents, port) != parents.end()) {
                gone.push_back(
                    {key, missing{&kind,
                                  record,
                                  {},
                                  is_port ? lost.message : "there is no port " + lost.port,
                                  describe(kind, record)}});
            }
        });
    }
    if (const auto there = switch_.find_port(lost.port); there.has_value()) {
        switch_.events().add(event_kind::port_lost, (*there)->request.bridge, lost.port,
                             {{"why", lost.message}});
    }
    (void)switch_.remove_port(lost.port);
    for (auto& [key, what] : gone) {
        miss(key, std::move(what));
    }
}

outcome<void> configuration::make_line(const std::string& key, const missing& m)
{
    const auto place = place_of_line(key);
    const auto b = place ? switch_.bridges().find(place->bridge) : switch_.bridges().end();
    if (b == switch_.bridges().end()) {
        return failure{failure_kind::not_found, "there is no such bridge"};
    }
    return add_config_line(*b->second.flows, place->kind, m.text);
}

// Of what is there again.
void configuration::tell_if_port(const missing& m)
{
    const std::string name = text_of(m.record, "name").value_or("");
    const auto there = switch_.ports().find(name);
    if (m.kind != nullptr && m.kind->make == "port.add" && there != switch_.ports().end()) {
        switch_.events().add(event_kind::port_found, there->second.request.bridge, name);
    }
}

// In the order of kinds: what one needs is there before it.
void configuration::retry()
{
    if (writer_ && reserve(0).has_error()) {
        return;
    }
    mirrors_.continue_files(true);
    const auto try_all = [this](const config_kind* kind) {
        std::vector<std::string> keys;
        for (const auto& [key, m] : missing_) {
            if (m.kind == kind) {
                keys.push_back(key);
            }
        }
        for (const std::string& key : keys) {
            missing m = missing_.at(key);
            const bool gone = kind != nullptr && kind->name == "adopted_ports" &&
                              adoption_.has_looked() &&
                              !adoption_.has_adopted(text_of(m.record, "name").value_or(""));
            if (gone) { // with its guest
                forget(key);
                forget_orphans();
                continue;
            }
            const auto made = kind != nullptr ? make(*kind, m.record) : make_line(key, m);
            if (made.has_value()) {
                missing_.erase(key);
                tell_if_port(m);
                log(log_level::info, "store", m.what + " is there again");
            } else {
                m.why = made.error().message;
                miss(key, std::move(m));
            }
        }
    };
    for (const config_kind& kind : config_kinds()) {
        try_all(&kind);
    }
    try_all(nullptr);
    mirrors_.continue_files(false);
}

// What its flows, which name it by number, and whoever reads its counters know it by.
std::optional<std::uint16_t> configuration::number_of_adopted(const std::string& port,
                                                              const std::string& on) const
{
    const auto found = missing_.find("adopted_ports " + port);
    if (found == missing_.end() || text_of(found->second.record, "on") != on) {
        return std::nullopt;
    }
    const auto number = number_as<std::uint16_t>(found->second.record, "number");
    const bool taken = std::ranges::any_of(
        switch_.ports(), [&](const auto& p) { return p.second.number == number; });
    next_try_ = {}; // its settings are to be looked at soon
    return taken ? std::nullopt : number;
}

} // namespace strait::control
