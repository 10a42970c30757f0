// SPDX-License-Identifier: BSD-3-Clause
// JSON's values in words, and tables.
#include "control/print_parts.hh"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <cstdio>

namespace strait::control {

namespace json = boost::json;

text_table::text_table(std::vector<std::string> heading) : columns_{heading.size()}
{
    rows_.push_back(std::move(heading));
    right_.resize(columns_, false);
}

text_table& text_table::align_right(std::size_t first, std::size_t last)
{
    for (std::size_t i = first; i <= last; ++i) {
        right_[i] = true;
    }
    return *this;
}

std::string text_table::text() const
{
    std::vector<std::size_t> widths(columns_, 0);
    for (const auto& row : rows_) {
        for (std::size_t i = 0; i < columns_; ++i) {
            widths[i] = std::max(widths[i], row[i].size());
        }
    }
    std::string out;
    for (const auto& row : rows_) {
        std::string line;
        for (std::size_t i = 0; i < columns_; ++i) {
            const std::string gap(widths[i] - row[i].size(), ' ');
            line += (i == 0 ? "" : "  ") + (right_[i] ? gap + row[i] : row[i] + gap);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + "\n";
    }
    return out;
}

const json::value& member(const json::object& object, std::string_view name)
{
    static const json::value none;
    const auto* found = object.if_contains(name);
    return found != nullptr ? *found : none;
}

const json::object& as_object(const json::value& value)
{
    static const json::object none;
    return value.is_object() ? value.get_object() : none;
}

const json::array& as_array(const json::value& value)
{
    static const json::array none;
    return value.is_array() ? value.get_array() : none;
}

double as_number(const json::value& value)
{
    return value.is_double()   ? value.get_double()
           : value.is_int64()  ? static_cast<double>(value.get_int64())
           : value.is_uint64() ? static_cast<double>(value.get_uint64())
                               : 0.0;
}

std::uint64_t as_count(const json::value& value)
{
    return value.is_uint64() ? value.get_uint64()
           : value.is_int64() && value.get_int64() > 0
               ? static_cast<std::uint64_t>(value.get_int64())
               : 0;
}

std::string grouped(std::uint64_t n)
{
    std::string digits = std::to_string(n);
    for (std::size_t at = digits.size(); at > 3;) {
        at -= 3;
        digits.insert(at, ",");
    }
    return digits;
}

std::string fixed(double n, int decimals)
{
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%.*f", decimals, n);
    return text.data();
}

std::string scaled(double n, std::string_view unit)
{
    constexpr std::array<std::string_view, 5> prefixes = {"", "k", "M", "G", "T"};
    constexpr double thousand = 1000;
    std::size_t i = 0;
    while (n >= thousand && i + 1 < prefixes.size()) {
        n /= thousand;
        ++i;
    }
    const int decimals = i == 0 || n >= 100 ? 0 : n >= 10 ? 1 : 2;
    return fixed(n, decimals) + " " + std::string{prefixes[i]} + std::string{unit};
}

std::string plain(const json::value& value)
{
    std::string text;
    if (value.is_string()) {
        text = std::string_view{value.get_string()};
    } else if (value.is_bool()) {
        text = value.get_bool() ? "yes" : "no";
    } else if (value.is_null()) {
        text = "-";
    } else if (value.is_array()) {
        for (const auto& element : value.get_array()) {
            text += (text.empty() ? "" : ", ") + plain(element);
        }
    } else {
        text = json::serialize(value);
    }
    std::replace_if(
        text.begin(), text.end(),
        [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
    return text;
}

} // namespace strait::control
