// SPDX-License-Identifier: BSD-3-Clause
// What texts for people are put together of: members of JSON values that may not be there, numbers
// in words, tables. Which results they are of is print.cc's business.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// Rows of cells; numbers to the right, the first row is the heading.
class text_table {
public:
    explicit text_table(std::vector<std::string> heading);
    text_table& align_right(std::size_t first, std::size_t last);
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    [[nodiscard]] std::string text() const;

private:
    std::size_t columns_;
    std::vector<std::vector<std::string>> rows_;
    std::vector<bool> right_;
};

// null, an empty object, an empty array, 0 where there is nothing of that kind.
[[nodiscard]] const boost::json::value& member(const boost::json::object& object,
                                               std::string_view name);
[[nodiscard]] const boost::json::object& as_object(const boost::json::value& value);
[[nodiscard]] const boost::json::array& as_array(const boost::json::value& value);
[[nodiscard]] double as_number(const boost::json::value& value);
[[nodiscard]] std::uint64_t as_count(const boost::json::value& value);

[[nodiscard]] std::string grouped(std::uint64_t n); // 1,234,567
[[nodiscard]] std::string fixed(double n, int decimals);
// 1234567 as "1.23 M", with the unit behind it.
[[nodiscard]] std::string scaled(double n, std::string_view unit);
// Text for a terminal: what would control it is shown as '?'. Of an array "a, b, c".
[[nodiscard]] std::string plain(const boost::json::value& value);

} // namespace strait::control
