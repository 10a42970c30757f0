// SPDX-License-Identifier: BSD-3-Clause
// Skipping over JSON that a parser has found to be right.
#include "control/json_place.hh"

#include <boost/json/parse.hpp>

#include <algorithm>
#include <optional>

namespace strait::control {

namespace {

class walker {
public:
    explicit walker(std::string_view text) : text_{text} { skip_blanks(); }

    [[nodiscard]] std::size_t at() const noexcept { return at_; }

    // To the value of that member of the object here; false: there is none.
    bool enter(const std::string& name)
    {
        if (!takes('{')) {
            return false;
        }
        while (next() == '"') {
            const std::size_t begin = at_;
            skip_string();
            const std::string_view key = text_.substr(begin, at_ - begin);
            skip_blanks();
            (void)takes(':');
            if (is(key, name)) {
                return true;
            }
            skip_value();
            (void)takes(',');
        }
        return false;
    }

    bool enter(std::size_t number)
    {
        if (!takes('[')) {
            return false;
        }
        for (; number > 0 && next() != ']' && next() != 0; --number) {
            skip_value();
            (void)takes(',');
        }
        return number == 0 && next() != ']' && next() != 0;
    }

private:
    [[nodiscard]] char next() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }

    void skip_blanks() noexcept
    {
        while (at_ < text_.size() && std::string_view{" \t\r\n"}.find(text_[at_]) != text_.npos) {
            ++at_;
        }
    }

    bool takes(char c) noexcept
    {
        if (next() != c) {
            return false;
        }
        ++at_;
        skip_blanks();
        return true;
    }

    // To behind it.
    void skip_string() noexcept
    {
        for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
            at_ += text_[at_] == '\\' ? 1U : 0U;
        }
        at_ = std::min(at_ + 1, text_.size());
    }

    void skip_value() noexcept
    {
        std::size_t depth = 0;
        do {
            const char c = next();
            if (c == '"') {
                skip_string();
            } else if (c == '{' || c == '[') {
                ++depth;
                ++at_;
            } else if (c == '}' || c == ']') {
                if (depth == 0) {
                    return;
                }
                --depth;
                ++at_;
            } else if (c == ',' && depth == 0) {
                return;
            } else {
                ++at_;
            }
        } while (at_ < text_.size() &&
                 (depth > 0 || (next() != ',' && next() != '}' && next() != ']')));
        skip_blanks();
    }

    // Whether a key, with its quotes, is that name.
    static bool is(std::string_view key, const std::string& name)
    {
        if (key.find('\\') == std::string_view::npos) {
            return key.size() == name.size() + 2 && key.substr(1, name.size()) == name;
        }
        boost::system::error_code failed;
        const auto value = boost::json::parse({key.data(), key.size()}, failed);
        return !failed && value == boost::json::value(name);
    }

    std::string_view text_;
    std::size_t at_{0};
};

} // namespace

std::string to_text(const json_path& path)
{
    std::string out;
    for (const auto& step : path) {
        if (const auto* const name = std::get_if<std::string>(&step)) {
            out += (out.empty() ? "" : ".") + *name;
        } else {
            out += '[' + std::to_string(std::get<std::size_t>(step)) + ']';
        }
    }
    return out;
}

std::size_t find_place(std::string_view text, const json_path& path)
{
    walker w{text};
    std::size_t place = w.at();
    for (const auto& step : path) {
        if (!std::visit([&w](const auto& s) { return w.enter(s); }, step)) {
            break;
        }
        place = w.at();
    }
    return place;
}

std::string line_and_column(std::string_view text, std::size_t at)
{
    const std::string_view before = text.substr(0, at);
    const auto line = std::ranges::count(before, '\n') + 1;
    return std::to_string(line) + ':' + std::to_string(at - (before.rfind('\n') + 1) + 1);
}

} // namespace strait::control
