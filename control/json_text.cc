// SPDX-License-Identifier: BSD-3-Clause
// Boost.JSON's parser, with an eye on names.
#include "control/json_text.hh"

#include "control/utf8.hh"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_stack.hpp>

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace strait::control {

namespace json = boost::json;
using boost::system::error_code;

namespace {

// What basic_parser calls: makes the value, as Boost.JSON's own does, and ends it at a name that
// its object has.
class builder {
public:
    // Longer ones do not come here.
    static constexpr std::size_t max_object_size = json::object::max_size();
    static constexpr std::size_t max_array_size = json::array::max_size();
    static constexpr std::size_t max_key_size = json::string::max_size();
    static constexpr std::size_t max_string_size = json::string::max_size();

    [[nodiscard]] const std::optional<std::string>& twice() const noexcept { return twice_; }
    [[nodiscard]] json::value release() { return values_.release(); }

    bool on_document_begin(error_code& /*failed*/)
    {
        values_.reset();
        return true;
    }
    static bool on_document_end(error_code& /*failed*/) { return true; }
    bool on_object_begin(error_code& /*failed*/)
    {
        names_.emplace_back();
        return true;
    }
    bool on_object_end(std::size_t size, error_code& /*failed*/)
    {
        names_.pop_back();
        values_.push_object(size);
        return true;
    }
    static bool on_array_begin(error_code& /*failed*/) { return true; }
    bool on_array_end(std::size_t size, error_code& /*failed*/)
    {
        values_.push_array(size);
        return true;
    }
    bool on_key_part(json::string_view part, std::size_t /*so_far*/, error_code& /*failed*/)
    {
        name_ += std::string_view{part};
        values_.push_chars(part);
        return true;
    }
    bool on_key(json::string_view part, std::size_t /*all*/, error_code& failed)
    {
        name_ += std::string_view{part};
        values_.push_key(part);
        const auto [found, is_new] = names_.back().insert(std::exchange(name_, {}));
        if (!is_new) {
            twice_ = *found;
            failed = json::make_error_code(json::error::syntax);
        }
        return is_new;
    }
    bool on_string_part(json::string_view part, std::size_t /*so_far*/, error_code& /*failed*/)
    {
        values_.push_chars(part);
        return true;
    }
    bool on_string(json::string_view part, std::size_t /*all*/, error_code& /*failed*/)
    {
        values_.push_string(part);
        return true;
    }
    static bool on_number_part(json::string_view /*part*/, error_code& /*failed*/) { return true; }
    bool on_int64(std::int64_t n, json::string_view /*part*/, error_code& /*failed*/)
    {
        values_.push_int64(n);
        return true;
    }
    bool on_uint64(std::uint64_t n, json::string_view /*part*/, error_code& /*failed*/)
    {
        values_.push_uint64(n);
        return true;
    }
    bool on_double(double n, json::string_view /*part*/, error_code& /*failed*/)
    {
        values_.push_double(n);
        return true;
    }
    bool on_bool(bool b, error_code& /*failed*/)
    {
        values_.push_bool(b);
        return true;
    }
    bool on_null(error_code& /*failed*/)
    {
        values_.push_null();
        return true;
    }
    static bool on_comment_part(json::string_view /*part*/, error_code& /*failed*/) { return true; }
    static bool on_comment(json::string_view /*part*/, error_code& /*failed*/) { return true; }

private:
    json::value_stack values_;
    std::vector<std::set<std::string>> names_; // of the objects around here
    std::string name_;
    std::optional<std::string> twice_;
};

// For a sentence.
std::string quoted(std::string_view name)
{
    constexpr std::size_t longest = 80;
    return json::serialize(json::value(as_utf8(name.substr(0, longest)))) +
           (name.size() > longest ? "…" : "");
}

} // namespace

boost::system::result<json::value, json_fault> parse_json(std::string_view text, std::size_t levels)
{
    if (!is_utf8(text)) {
        return json_fault{"this is not UTF-8, as JSON and all text in it must be"};
    }
    json::parse_options options;
    options.max_depth = levels;
    json::basic_parser<builder> parser{options};
    error_code failed;
    const std::size_t read = parser.write_some(false, text.data(), text.size(), failed);
    if (const auto& twice = parser.handler().twice()) {
        return json_fault{"an object has " + quoted(*twice) + " twice; once is right", read};
    }
    if (!failed && read < text.size()) {
        failed = json::make_error_code(json::error::extra_data);
    }
    if (failed == json::error::too_deep) {
        return json_fault{"this is JSON of more than " + std::to_string(levels) + " levels", read};
    }
    if (failed) {
        return json_fault{"this is not JSON: " + failed.message(), read};
    }
    return {boost::system::in_place_value, parser.handler().release()};
}

} // namespace strait::control
