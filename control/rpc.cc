// SPDX-License-Identifier: BSD-3-Clause
// Messages, answers and error codes of JSON-RPC 2.0.
#include "control/rpc.hh"

#include "control/json_text.hh"
#include "control/log.hh"
#include "control/utf8.hh"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <new>
#include <optional>

namespace strait::control {

namespace json = boost::json;

namespace {

// The codes that JSON-RPC 2.0 names.
enum error_code : int {
    parse_failed = -32700,
    invalid_request = -32600,
    method_not_found = -32601,
    invalid_parameters = -32602,
    internal_error = -32603,
    // Ours begin here: -32001 and down, one a failure_kind.
    first_of_ours = -32001,
};

constexpr std::array<std::string_view, 6> kinds = {"not_found", "exists", "in_use",
                                                   "invalid",   "limit",  "failed"};

std::string finish(const json::value& id, json::object outcome_member)
{
    json::object answer{{"jsonrpc", "2.0"}};
    for (auto& [key, value] : outcome_member) {
        answer[key] = std::move(value);
    }
    answer["id"] = id;
    // Parameters are checked, but the kernel, drivers and guests say what they like: a client that
    // is told of one of them is not to lose the whole answer.
    std::string text = json::serialize(answer);
    return is_utf8(text) ? text : as_utf8(text);
}

std::string error_answer(const json::value& id, int code, std::string_view message,
                         json::object data = {})
{
    json::object e{{"code", code}, {"message", message}};
    if (!data.empty()) {
        e["data"] = std::move(data);
    }
    return finish(id, {{"error", std::move(e)}});
}

std::string failure_answer(const json::value& id, const failure& f)
{
    const auto kind = static_cast<std::size_t>(f.kind);
    return error_answer(id, first_of_ours - static_cast<int>(kind), f.message,
                        {{"kind", kinds[kind]}});
}

// Not an infinite number, which 1e999 is read as: no answer could repeat it.
bool is_id(const json::value& id)
{
    const auto* number = id.if_double();
    return id.is_string() || id.is_null() ||
           (id.is_number() && (number == nullptr || std::isfinite(*number)));
}

std::string unknown_method(const method_table& table, std::string_view name)
{
    std::vector<std::string> names;
    for (const auto& m : table) {
        names.emplace_back(m.name);
    }
    const auto near = nearest(name, names);
    return "there is no method of this name; " +
           (near ? "did you mean " + *near + "?" : std::string{"the method schema lists them"});
}

} // namespace

void rpc::add(std::string_view method, handler h)
{
    handlers_[std::string{method}] = std::move(h);
}

void rpc::add_stream(std::string_view method, stream_handler h)
{
    streams_[std::string{method}] = std::move(h);
}

std::vector<std::string_view> rpc::missing() const
{
    std::vector<std::string_view> names;
    for (const auto& m : *table_) {
        if (!handlers_.contains(m.name) && !streams_.contains(m.name)) {
            names.push_back(m.name);
        }
    }
    return names;
}

std::string rpc::parse_error(std::string_view why)
{
    return error_answer(nullptr, parse_failed, why);
}

std::string rpc::too_long()
{
    return error_answer(nullptr, invalid_request,
                        "a request is longer than " + std::to_string(longest_request) + " bytes");
}

std::string rpc::too_many(std::size_t clients)
{
    return failure_answer(
        nullptr,
        {failure_kind::limit, "there are at most " + std::to_string(clients) +
                                  " clients, and the connection of this one, silent for longest, "
                                  "was ended for a new one; connect again"});
}

outcome<json::value> rpc::call(std::string_view method, const json::object& parameters) const
{
    auto done = handlers_.find(method)->second(parameters);
    if (called_) {
        called_();
    }
    return done;
}

outcome<json::value> rpc::change(const method& m, const json::object& parameters) const
{
    auto before = keeper_->before(m, parameters);
    if (before.has_error()) {
        return before.error();
    }
    changed_ = true;
    // Whatever becomes of the call: what it has changed is changed.
    struct at_the_end {
        change_keeper& keeper;
        const method& m;
        ~at_the_end() { keeper.after(m); }
    };
    const at_the_end tell{*keeper_, m};
    return *before ? outcome<json::value>{std::move(**before)} : call(m.name, parameters);
}

std::string rpc::not_kept(std::string_view answers, std::string_view why)
{
    json::value all = json::parse(json::string_view{answers.data(), answers.size()});
    const auto refuse = [&](json::value& one) {
        auto& o = one.as_object();
        if (o.contains("result")) {
            one = json::parse(failure_answer(
                o.at("id"),
                {failure_kind::failed, "this was done, but is not kept, and is lost when straitd "
                                       "ends: " +
                                           std::string{why}}));
        }
    };
    if (auto* const batch = all.if_array()) {
        std::for_each(batch->begin(), batch->end(), refuse);
    } else {
        refuse(all);
    }
    return json::serialize(all);
}

outcome<json::value> rpc::carry_out(const method& m, const json::object& parameters,
                                    takeover* then) const
{
    const auto stream = streams_.find(m.name);
    if (stream == streams_.end()) {
        return keeper_ != nullptr && m.keeps == kept::configuration ? change(m, parameters)
                                                                    : call(m.name, parameters);
    }
    if (then == nullptr) {
        return failure{failure_kind::invalid,
                       std::string{m.name} + " takes the connection for what it answers with: it "
                                             "must be a request by itself, with an id"};
    }
    return stream->second(parameters, *then);
}

std::string rpc::answer_one(const json::value& request, takeover* then) const
{
    const auto* r = request.if_object();
    if (r == nullptr) {
        return error_answer(nullptr, invalid_request, "a request must be an object");
    }
    const auto* given_id = r->if_contains("id");
    if (given_id != nullptr && !is_id(*given_id)) {
        return error_answer(nullptr, invalid_request,
                            "\"id\" must be a string, a number that a double can hold, or null");
    }
    const json::value id = given_id != nullptr ? *given_id : json::value{};
    const auto* protocol = r->if_contains("jsonrpc");
    if (protocol == nullptr || *protocol != json::value("2.0")) {
        return error_answer(id, invalid_request, "\"jsonrpc\" must be \"2.0\"");
    }
    const auto* name = r->if_contains("method");
    if (name == nullptr || !name->is_string()) {
        return error_answer(id, invalid_request, "\"method\" must be a string");
    }
    for (const auto& [key, value] : *r) {
        if (key != "jsonrpc" && key != "id" && key != "method" && key != "params") {
            return error_answer(id, invalid_request,
                                "a request has jsonrpc, method, params and id, nothing else");
        }
    }
    static const json::object none;
    const json::object* parameters = &none;
    if (const auto* given = r->if_contains("params")) {
        parameters = given->if_object();
    }
    // From here on a request without an id is a notification: done, not answered.
    const bool silent = given_id == nullptr;
    std::string text;
    const method* m = find_method(*table_, std::string_view{name->get_string()});
    if (m == nullptr) {
        text = error_answer(id, method_not_found,
                            unknown_method(*table_, std::string_view{name->get_string()}));
    } else if (parameters == nullptr) {
        text = error_answer(id, invalid_parameters,
                            std::string{m->name} +
                                ": \"params\" must be an object of named parameters");
    } else if (const auto wrong = check_parameters(*m, *parameters, wording::program)) {
        text = error_answer(id, invalid_parameters, *wrong);
    } else {
        try {
            auto done = carry_out(*m, *parameters, silent ? nullptr : then);
            text = done.has_error() ? failure_answer(id, done.error())
                                    : finish(id, {{"result", std::move(*done)}});
        } catch (const std::bad_alloc&) {
            text = failure_answer(
                id, {failure_kind::limit, std::string{m->name} + ": there is not enough memory"});
        } catch (const std::exception& e) {
            log(log_level::error, "control", std::string{m->name} + " failed: " + e.what());
            text = error_answer(id, internal_error, std::string{m->name} + " failed: " + e.what());
        }
    }
    return silent ? std::string{} : text;
}

void rpc::left(client_id who) const
{
    for (const auto& then : left_) {
        then(who);
    }
}

std::string rpc::answer(std::string_view message, client_id from, takeover* then) const
{
    caller_ = from;
    changed_ = false;
    constexpr std::size_t levels = 16;
    const auto parsed = parse_json(message, levels);
    if (parsed.has_error()) {
        return parse_error(parsed.error().message);
    }
    const json::value& request = *parsed;
    const auto* batch = request.if_array();
    if (batch == nullptr) {
        return answer_one(request, then);
    }
    if (batch->empty() || batch->size() > longest_batch) {
        return error_answer(nullptr, invalid_request,
                            "a batch must have 1 to " + std::to_string(longest_batch) +
                                " requests");
    }
    std::string answers;
    for (const auto& one : *batch) {
        std::string text;
        if (answers.size() < longest_answer) {
            text = answer_one(one, nullptr);
        } else {
            const auto* r = one.if_object();
            const auto* id = r != nullptr ? r->if_contains("id") : nullptr;
            text = failure_answer(id != nullptr && is_id(*id) ? *id : json::value{},
                                  {failure_kind::limit,
                                   "the answers to this batch are too long; ask for less at once"});
        }
        if (!text.empty()) {
            answers += (answers.empty() ? "[" : ",") + text;
        }
    }
    return answers.empty() ? answers : answers + "]";
}

} // namespace strait::control
