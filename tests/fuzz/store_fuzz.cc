// SPDX-License-Identifier: BSD-3-Clause
// Files of the store, and documents, that are damaged or made up. An input is a byte and a text:
// 0: a snapshot, 1: a journal alone, 2: a journal behind a snapshot, else a document. What is
// checked: that a store which is read is the same once more when it was folded, that sentences are
// text, and that places in a document lie in it.
#include "control/json_place.hh"
#include "control/json_text.hh"
#include "control/store.hh"
#include "control/utf8.hh"
#include "tests/fuzz/check.hh"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace {

using namespace strait;
using namespace strait::control;
using fuzz::check;

using folder = std::map<std::string, std::string>;

class file_in_memory : public store_file {
public:
    explicit file_in_memory(std::string& text) : text_{text} {}
    ports::result<void> allocate(std::uint64_t bytes) override
    {
        text_.resize(std::max<std::size_t>(text_.size(), bytes));
        return {};
    }
    ports::result<void> write(std::uint64_t at, std::string_view text) override
    {
        text_.resize(std::max<std::size_t>(text_.size(), at + text.size()));
        text_.replace(at, text.size(), text);
        return {};
    }
    ports::result<void> sync() override { return {}; }

private:
    std::string& text_;
};

class files_in_memory : public store_files {
public:
    explicit files_in_memory(folder& all) : all_{all} {}
    std::string path() const override { return "/store"; }
    ports::result<std::vector<std::string>> list() override
    {
        std::vector<std::string> out;
        for (const auto& [name, text] : all_) {
            out.push_back(name);
        }
        return out;
    }
    ports::result<std::string> read(const std::string& name) override
    {
        return {boost::system::in_place_value, all_.at(name)};
    }
    ports::result<std::unique_ptr<store_file>> create(const std::string& name) override
    {
        all_[name] = {};
        return std::unique_ptr<store_file>{std::make_unique<file_in_memory>(all_[name])};
    }
    ports::result<void> rename(const std::string& from, const std::string& to) override
    {
        all_[to] = std::move(all_.at(from));
        all_.erase(from);
        return {};
    }
    ports::result<void> remove(const std::string& name) override
    {
        all_.erase(name);
        return {};
    }
    ports::result<void> sync_folder() override { return {}; }

private:
    folder& all_;
};

std::map<std::string, std::string> items_of(const store_contents& c)
{
    std::map<std::string, std::string> out;
    for (const auto& [key, value] : c.items) {
        out.emplace(key, value);
    }
    return out;
}

void read_files(folder all)
{
    files_in_memory files{all};
    const auto read = read_store(files);
    if (read.has_error()) {
        check(is_utf8(read.error().message) && !read.error().message.empty());
        return;
    }
    const auto items = items_of(*read);
    auto next = store_journal::begin(files, read->next, 1000);
    check(next.has_value());
    check(fold_store(files, read->next).has_value());
    const auto again = read_store(files);
    check(again.has_value());
    check(items_of(*again) == items);
    store_changes more;
    more.put("key", "value");
    check(next->append(more.text()).has_value());
    check(read_store(files)->items.contains("key"));
}

// Each part's place is in the text, and behind that of what it is in.
void walk(std::string_view text, const boost::json::value& value, json_path& path, std::size_t from)
{
    const std::size_t at = find_place(text, path);
    check(at >= from && at < text.size());
    check(!line_and_column(text, at).empty());
    if (const auto* const o = value.if_object()) {
        for (const auto& [name, part] : *o) {
            path.emplace_back(std::string{name});
            walk(text, part, path, at + 1);
            path.pop_back();
        }
    } else if (const auto* const a = value.if_array()) {
        for (std::size_t i = 0; i < a->size(); ++i) {
            path.emplace_back(i);
            walk(text, (*a)[i], path, at + 1);
            path.pop_back();
        }
    }
}

void read_text(std::string_view text)
{
    constexpr std::size_t levels = 8;
    json_path path;
    if (const auto value = parse_json(text, levels); value.has_value()) {
        walk(text, *value, path, 0);
    } else {
        path = {std::string{"ports"}, std::size_t{1}, std::string{"name"}};
        check(find_place(text, path) <= text.size());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    constexpr std::size_t most = 4096;
    if (size < 1 || size > most) {
        return 0;
    }
    const std::string text{reinterpret_cast<const char*>(data) + 1, size - 1};
    switch (data[0]) {
    case 0:
        read_files({{"snapshot-00000002", text}});
        break;
    case 1:
        read_files({{"journal-00000001", text}});
        break;
    case 2: {
        folder all;
        files_in_memory files{all};
        check(fold_store(files, 2).has_value());
        all["journal-00000002"] = text;
        read_files(all);
        break;
    }
    default:
        read_text(text);
    }
    return 0;
}
