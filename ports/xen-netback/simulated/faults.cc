// SPDX-License-Identifier: BSD-3-Clause
// Rules of faults: reading, writing and applying them.
#include "ports/xen-netback/simulated/faults.hh"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <utility>

namespace strait::xen::simulated {

namespace json = boost::json;

namespace {

template <typename T>
using names = std::vector<std::pair<std::string_view, T>>;

const names<operation>& operation_names()
{
    static const names<operation> all{{"copy", operation::copy},
                                      {"map", operation::map},
                                      {"bind", operation::bind},
                                      {"commit", operation::commit}};
    return all;
}

const names<effect>& effect_names()
{
    static const names<effect> all{{"fail", effect::fail},
                                   {"pretend", effect::pretend},
                                   {"deny", effect::deny},
                                   {"delay", effect::delay}};
    return all;
}

const names<merging>& merging_names()
{
    static const names<merging> all{
        {"none", merging::none}, {"same", merging::same}, {"token", merging::token}};
    return all;
}

const names<grant_status>& status_names()
{
    static const names<grant_status> all{{"general_error", grant_status::general_error},
                                         {"bad_domain", grant_status::bad_domain},
                                         {"bad_reference", grant_status::bad_reference},
                                         {"permission_denied", grant_status::permission_denied},
                                         {"bad_page", grant_status::bad_page},
                                         {"bad_argument", grant_status::bad_argument},
                                         {"again", grant_status::again},
                                         {"no_space", grant_status::no_space}};
    return all;
}

template <typename T>
std::string_view name_of(const names<T>& all, T value)
{
    const auto at = std::find_if(all.begin(), all.end(),
                                 [value](const auto& pair) { return pair.second == value; });
    return at == all.end() ? std::string_view{} : at->first;
}

struct wrong {
    std::string message;
};

[[noreturn]] void refuse(std::string_view member, const std::string& must)
{
    throw wrong{"faults: \"" + std::string{member} + "\" must be " + must};
}

std::uint64_t whole(std::string_view member, const json::value& v, std::uint64_t most)
{
    boost::system::error_code code;
    const auto n = v.to_number<std::uint64_t>(code);
    if (code || n > most) {
        refuse(member, "a whole number from 0 to " + std::to_string(most));
    }
    return n;
}

template <typename T>
T choice(std::string_view member, const json::value& v, const names<T>& all)
{
    std::string must = "one of";
    for (const auto& [name, value] : all) {
        if (v.is_string() && std::string_view{v.get_string()} == name) {
            return value;
        }
        must += ' ';
        must += name;
    }
    refuse(member, must);
}

grant_status parse_status(const json::value& v)
{
    if (v.is_int64()) {
        for (const auto& [name, value] : status_names()) {
            if (static_cast<std::int64_t>(value) == v.get_int64()) {
                return value;
            }
        }
    }
    return choice("status", v, status_names());
}

fault_rule parse_rule(const json::value& v)
{
    constexpr auto any = std::numeric_limits<std::uint64_t>::max();
    constexpr std::uint32_t any_reference = std::numeric_limits<std::uint32_t>::max();
    constexpr std::uint64_t longest_us = 60'000'000;
    if (!v.is_object() || !v.get_object().contains("on")) {
        refuse("rules", "objects that have \"on\"");
    }
    fault_rule rule;
    for (const auto& [key, value] : v.get_object()) {
        const std::string_view name{key};
        if (name == "on") {
            rule.on = choice(name, value, operation_names());
        } else if (name == "effect") {
            rule.what = choice(name, value, effect_names());
        } else if (name == "domain") {
            rule.domain = domain_id{static_cast<std::uint16_t>(whole(name, value, 0x7fef))};
        } else if (name == "reference") {
            if (value.is_array() && value.get_array().size() != 2) {
                refuse(name, "a number, or the first and the last in a list");
            }
            const bool range = value.is_array();
            rule.first_reference = static_cast<std::uint32_t>(
                whole(name, range ? value.get_array()[0] : value, any_reference));
            rule.last_reference = static_cast<std::uint32_t>(
                whole(name, range ? value.get_array()[1] : value, any_reference));
        } else if (name == "skip") {
            rule.skip = whole(name, value, any);
        } else if (name == "count") {
            rule.count = whole(name, value, any);
        } else if (name == "probability") {
            boost::system::error_code code;
            rule.probability = value.to_number<double>(code);
            if (code || !(rule.probability >= 0 && rule.probability <= 1)) {
                refuse(name, "a number from 0 to 1");
            }
        } else if (name == "status") {
            rule.status = parse_status(value);
        } else if (name == "delay_us") {
            rule.delay = std::chrono::microseconds{whole(name, value, longest_us)};
        } else {
            throw wrong{"faults: a rule has no member \"" + std::string{name} + "\""};
        }
    }
    if (rule.on != operation::copy && (rule.what == effect::pretend || rule.what == effect::deny)) {
        refuse("effect", "fail or delay for what is no copy");
    }
    if (rule.on == operation::commit && rule.what == effect::delay) {
        refuse("effect", "fail for a commit");
    }
    return rule;
}

faults parse(std::string_view text)
{
    constexpr std::uint64_t longest_ms = 60'000;
    boost::system::error_code code;
    const json::value v = json::parse(text, code);
    if (code) {
        throw wrong{"faults: this is no JSON: " + code.message()};
    }
    if (!v.is_object()) {
        throw wrong{"faults: a JSON object is wanted"};
    }
    faults f;
    for (const auto& [key, value] : v.get_object()) {
        const std::string_view name{key};
        if (name == "seed") {
            f.seed = whole(name, value, std::numeric_limits<std::uint64_t>::max());
        } else if (name == "watch_delay_ms") {
            f.watch_delay = std::chrono::milliseconds{whole(name, value, longest_ms)};
        } else if (name == "watch_merging") {
            f.watch_merging = choice(name, value, merging_names());
        } else if (name == "rules") {
            if (!value.is_array() || value.get_array().size() > fault_plan::most_rules) {
                refuse(name, "a list of at most " + std::to_string(fault_plan::most_rules));
            }
            for (const auto& rule : value.get_array()) {
                f.rules.push_back(parse_rule(rule));
            }
        } else {
            throw wrong{"faults: there is no member \"" + std::string{name} + "\""};
        }
    }
    return f;
}

// Spreads the bits of a counter (splitmix64's finaliser).
std::uint64_t scatter(std::uint64_t x) noexcept
{
    x += 0x9e37'79b9'7f4a'7c15ULL;
    x = (x ^ (x >> 30U)) * 0xbf58'476d'1ce4'e5b9ULL;
    x = (x ^ (x >> 27U)) * 0x94d0'49bb'1331'11ebULL;
    return x ^ (x >> 31U);
}

bool matches(const fault_rule& rule, const fault_plan::target& t) noexcept
{
    return (!rule.domain || *rule.domain == t.domain) && t.reference >= rule.first_reference &&
           t.reference <= rule.last_reference;
}

} // namespace

result<faults> parse_faults(std::string_view text)
{
    try {
        return parse(text);
    } catch (wrong& w) {
        return error{std::move(w.message)};
    }
}

std::string to_json(const faults& f)
{
    json::array rules;
    for (const auto& rule : f.rules) {
        json::object o;
        o["on"] = name_of(operation_names(), rule.on);
        o["effect"] = name_of(effect_names(), rule.what);
        if (rule.domain) {
            o["domain"] = static_cast<std::uint16_t>(*rule.domain);
        }
        o["reference"] = json::array{rule.first_reference, rule.last_reference};
        o["skip"] = rule.skip;
        o["count"] = rule.count;
        o["probability"] = rule.probability;
        o["status"] = name_of(status_names(), rule.status);
        o["delay_us"] = rule.delay.count();
        rules.push_back(std::move(o));
    }
    return json::serialize(
        json::object{{"seed", f.seed},
                     {"watch_delay_ms", f.watch_delay.count()},
                     {"watch_merging", name_of(merging_names(), f.watch_merging)},
                     {"rules", std::move(rules)}});
}

fault_plan::fault_plan(faults f) : faults_{std::move(f)}
{
    if (faults_.rules.size() > most_rules) {
        faults_.rules.resize(most_rules);
    }
}

bool fault_plan::concerns(operation on) const noexcept
{
    return std::any_of(faults_.rules.begin(), faults_.rules.end(),
                       [on](const fault_rule& rule) { return rule.on == on; });
}

const fault_rule* fault_plan::strike(operation on, std::span<const target> targets) noexcept
{
    for (std::size_t i = 0; i < faults_.rules.size(); ++i) {
        const fault_rule& rule = faults_.rules[i];
        if (rule.on != on || std::none_of(targets.begin(), targets.end(),
                                          [&rule](const target& t) { return matches(rule, t); })) {
            continue;
        }
        const std::uint64_t n = matched_[i].fetch_add(1, std::memory_order_relaxed);
        if (n < rule.skip || n - rule.skip >= rule.count) {
            continue;
        }
        constexpr double range = 9007199254740992.0; // 2^53: what a double holds exactly
        const std::uint64_t chance = scatter(faults_.seed ^ scatter(n ^ scatter(i)));
        if (static_cast<double>(chance >> 11U) < rule.probability * range) {
            return &rule;
        }
    }
    return nullptr;
}

} // namespace strait::xen::simulated
