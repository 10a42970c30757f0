// SPDX-License-Identifier: BSD-3-Clause
// Handlers of the methods about the configuration as a whole.
#include "control/config_document.hh"
#include "control/config_plan.hh"
#include "control/parameters.hh"
#include "control/service.hh"

namespace strait::control {

namespace json = boost::json;

void service::add_config_methods()
{
    rpc_.add("config.show",
             [this](const object&) -> result { return json::value(show_document(config_)); });
    rpc_.add("config.diff", [this](const object& p) { return config_compare(p, false); });
    rpc_.add("config.apply", [this](const object& p) { return config_compare(p, true); });
    rpc_.add("config.begin", [this](const object&) { return config_begin(); });
    rpc_.add("config.put", [this](const object& p) { return config_put(p); });
    rpc_.add("config.commit",
             [this](const object& p) { return config_compare(p, !is_set(p, "diff")); });
    rpc_.when_left([this](client_id who) {
        std::erase_if(uploads_, [who](const auto& u) { return u.second.client == who; });
    });
}

service::result service::config_begin()
{
    if (uploads_.size() >= most_uploads) {
        return failure{failure_kind::limit,
                       std::to_string(most_uploads) +
                           " configurations are on their way already, and no more may be"};
    }
    const std::int64_t id = ++last_bundle_;
    uploads_.emplace(id, upload{{}, rpc_.caller()});
    return json::value{{"upload", id}};
}

service::result service::config_put(const object& p)
{
    const auto found = uploads_.find(number_of(p, "upload").value());
    if (found == uploads_.end() || found->second.client != rpc_.caller()) {
        return failure{failure_kind::not_found, "this connection has begun no such document"};
    }
    constexpr std::size_t longest = std::size_t{1} << 30U;
    const std::string_view part{p.at("text").as_string()};
    std::string& text = found->second.text;
    if (text.size() + part.size() > longest) {
        uploads_.erase(found);
        return failure{failure_kind::limit,
                       "a configuration has at most " + std::to_string(longest) + " bytes"};
    }
    text += part;
    return json::value{{"bytes", text.size()}};
}

service::result service::config_compare(const object& p, bool applies)
{
    std::string text;
    if (const auto id = number_of(p, "upload")) {
        const auto found = uploads_.find(*id);
        if (found == uploads_.end() || found->second.client != rpc_.caller()) {
            return failure{failure_kind::not_found, "this connection has begun no such document"};
        }
        text = std::move(found->second.text);
        uploads_.erase(found);
    } else if (const auto given = text_of(p, "document")) {
        text = *given;
    } else {
        return failure{failure_kind::invalid,
                       "there is no document; give a file as config show prints it"};
    }
    auto document = read_document(text, text_of(p, "file").value_or("document"), config_.sources());
    if (document.has_error()) {
        return document.error();
    }
    (void)switch_.keep_trees(); // to read it may have taken long
    auto plan = config_plan::make(config_, switch_, std::move(*document));
    if (plan.has_error()) {
        return plan.error();
    }
    if (!applies) {
        return json::value(plan->describe());
    }
    auto done = plan->carry_out(rpc_);
    if (done.has_error()) {
        return done.error();
    }
    return json::value(std::move(*done));
}

} // namespace strait::control
