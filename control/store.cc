// SPDX-License-Identifier: BSD-3-Clause
// Frames, reading and folding.
#include "control/store.hh"

#include <boost/crc.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <optional>
#include <utility>

namespace strait::control {

using ports::error;
using ports::result;

namespace {

constexpr std::string_view title = "strait-store ";
constexpr std::string_view snapshot_prefix = "snapshot-";
constexpr std::string_view journal_prefix = "journal-";
constexpr std::string_view unfinished = ".new";
constexpr std::size_t longest_frame_head = 64;

std::string header(std::string_view what)
{
    return std::string{title} + std::to_string(store_version) + ' ' + std::string{what} + '\n';
}

std::string file_name(std::string_view prefix, std::uint64_t number)
{
    std::array<char, 32> digits{};
    (void)std::snprintf(digits.data(), digits.size(), "%08llu",
                        static_cast<unsigned long long>(number));
    return std::string{prefix} + digits.data();
}

template <typename Integer>
std::optional<Integer> to_number(std::string_view text, int base = 10)
{
    Integer n{};
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), n, base);
    return failed == std::errc{} && end == text.data() + text.size() ? std::optional{n}
                                                                     : std::nullopt;
}

std::optional<std::uint64_t> number_of(std::string_view name, std::string_view prefix)
{
    if (!name.starts_with(prefix)) {
        return std::nullopt;
    }
    return to_number<std::uint64_t>(name.substr(prefix.size()));
}

std::uint32_t checksum(std::uint64_t number, std::string_view text)
{
    boost::crc_32_type crc;
    const std::string head = std::to_string(number);
    crc.process_bytes(head.data(), head.size());
    crc.process_bytes(text.data(), text.size());
    return crc.checksum();
}

std::string frame(std::uint64_t number, std::string_view text)
{
    std::array<char, longest_frame_head> head{};
    const int size =
        std::snprintf(head.data(), head.size(), "@%08x %zu %llu\n", checksum(number, text),
                      text.size(), static_cast<unsigned long long>(number));
    std::string out{head.data(), static_cast<std::size_t>(size)};
    out += text;
    out += '\n';
    return out;
}

struct found_frame {
    std::uint64_t number;
    std::string_view text;
    std::size_t end; // of it in the file
};

// The frame that begins there, if one does.
std::optional<found_frame> frame_at(std::string_view file, std::size_t at)
{
    const std::string_view rest = file.substr(at);
    const auto end = rest.substr(0, longest_frame_head).find('\n');
    if (!rest.starts_with('@') || end == std::string_view::npos) {
        return std::nullopt;
    }
    const std::string_view head = rest.substr(1, end - 1);
    const auto first = head.find(' ');
    const auto second = head.find(' ', std::min(first, head.size() - 1) + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) {
        return std::nullopt;
    }
    constexpr int hexadecimal = 16;
    const auto crc = to_number<std::uint32_t>(head.substr(0, first), hexadecimal);
    const auto size = to_number<std::size_t>(head.substr(first + 1, second - first - 1));
    const auto number = to_number<std::uint64_t>(head.substr(second + 1));
    if (!crc || !size || !number || rest.size() - end < 2 || *size > rest.size() - end - 2 ||
        rest[end + 1 + *size] != '\n') {
        return std::nullopt;
    }
    const std::string_view text = rest.substr(end + 1, *size);
    if (checksum(*number, text) != *crc) {
        return std::nullopt;
    }
    return found_frame{*number, text, at + end + 2 + *size};
}

bool has_frame_behind(std::string_view file, std::size_t at)
{
    for (at = file.find("\n@", at); at != std::string_view::npos; at = file.find("\n@", at + 1)) {
        if (frame_at(file, at + 1)) {
            return true;
        }
    }
    return false;
}

bool is_blank(std::string_view text)
{
    return text.find_first_not_of('\0') == std::string_view::npos;
}

error damaged(const std::string& path, std::size_t at, const std::string& what)
{
    return {"the kept configuration is damaged: " + path + ", byte " + std::to_string(at) + ": " +
            what +
            "; give another folder with --state-dir, or put a copy in place of this one (config "
            "save makes copies that config apply reads)"};
}

void apply_erase_all(std::map<std::string_view, std::string_view>& items, std::string_view prefix)
{
    const auto first = items.lower_bound(prefix);
    auto last = first;
    while (last != items.end() && last->first.starts_with(prefix)) {
        ++last;
    }
    items.erase(first, last);
}

// False: it is no frame's text. `count`: of a snapshot's last one.
bool apply_lines(std::map<std::string_view, std::string_view>& items, std::string_view text,
                 std::optional<std::uint64_t>& count)
{
    while (!text.empty()) {
        const auto end = text.find('\n');
        if (end == std::string_view::npos || end == 0) {
            return false;
        }
        const char what = text.front();
        const std::string_view line = text.substr(1, end - 1);
        text.remove_prefix(end + 1);
        if (what == '+') {
            const auto tab = line.find('\t');
            if (tab == std::string_view::npos) {
                return false;
            }
            items.insert_or_assign(line.substr(0, tab), line.substr(tab + 1));
        } else if (what == '-') {
            items.erase(line);
        } else if (what == '*') {
            apply_erase_all(items, line);
        } else if (what == '=') {
            count = to_number<std::uint64_t>(line);
        } else {
            return false;
        }
    }
    return true;
}

// What a file of the store begins with is right, newer or none.
result<void> check_title(const std::string& path, std::string_view text, std::string_view what)
{
    if (text.starts_with(header(what))) {
        return {};
    }
    if (text.starts_with(title)) {
        const std::string_view rest = text.substr(title.size());
        const auto version = to_number<unsigned>(rest.substr(0, rest.find(' ')));
        if (version && *version > store_version) {
            return error{"the configuration in " + path +
                         " was kept by a newer straitd: its format is " + std::to_string(*version) +
                         ", and this one reads " + std::to_string(store_version) +
                         "; start the newer one, or give another folder with --state-dir"};
        }
    }
    return damaged(path, 0, "it does not begin as a " + std::string{what} + " does");
}

result<void> read_snapshot(store_contents& into, const std::string& path, std::string_view text)
{
    if (auto right = check_title(path, text, "snapshot"); right.has_error()) {
        return right;
    }
    std::optional<std::uint64_t> count;
    std::uint64_t last = 0;
    std::size_t at = header("snapshot").size();
    while (at < text.size() && !count) {
        const auto f = frame_at(text, at);
        if (!f || f->number != ++last || !apply_lines(into.items, f->text, count)) {
            return damaged(path, at, "what stands there is no whole frame");
        }
        at = f->end;
    }
    if (!count) {
        return damaged(path, text.size(), "its end is missing");
    }
    if (*count != into.items.size() || at != text.size()) {
        return damaged(path, at, "it has more or less than it says");
    }
    into.snapshot_bytes = text.size();
    return {};
}

result<void> read_journal(store_contents& into, const std::string& path, std::string_view text)
{
    const std::string begin = header("journal");
    const std::string_view there = text.substr(0, text.find('\0'));
    if (there.size() < begin.size() && begin.starts_with(there) &&
        is_blank(text.substr(there.size()))) {
        return {}; // the power went before anything was kept in it
    }
    if (auto right = check_title(path, text, "journal"); right.has_error()) {
        return right;
    }
    std::uint64_t last = 0;
    std::size_t at = begin.size();
    while (at < text.size()) {
        const auto f = frame_at(text, at);
        std::optional<std::uint64_t> count;
        if (!f) {
            break;
        }
        if (f->number != ++last || !apply_lines(into.items, f->text, count) || count) {
            return damaged(path, at, "what stands there is not what belongs there");
        }
        at = f->end;
    }
    into.journal_bytes += at;
    if (is_blank(text.substr(at))) {
        return {};
    }
    // Each frame is written when the one before it is on the disk.
    if (has_frame_behind(text, at)) {
        return damaged(path, at, "what stands there is no whole frame, and others follow");
    }
    into.torn.push_back(path);
    return {};
}

struct found_files {
    std::vector<std::uint64_t> snapshots; // ascending
    std::vector<std::uint64_t> journals;
    std::vector<std::string> unfinished;
};

result<found_files> look_for_files(store_files& files)
{
    const auto names = files.list();
    if (names.has_error()) {
        return names.error();
    }
    found_files out;
    for (const std::string& name : *names) {
        if (const auto s = number_of(name, snapshot_prefix)) {
            out.snapshots.push_back(*s);
        } else if (const auto j = number_of(name, journal_prefix)) {
            out.journals.push_back(*j);
        } else if (name.starts_with(snapshot_prefix) && name.ends_with(unfinished)) {
            out.unfinished.push_back(name);
        }
    }
    std::ranges::sort(out.snapshots);
    std::ranges::sort(out.journals);
    return out;
}

result<std::uint64_t> write_snapshot(store_files& files, const store_contents& from,
                                     std::uint64_t number)
{
    constexpr std::size_t frame_bytes = std::size_t{1} << 20U;
    const std::string name = file_name(snapshot_prefix, number);
    const std::string at_first = name + std::string{unfinished};
    auto made = files.create(at_first);
    if (made.has_error()) {
        return made.error();
    }
    store_file& file = **made;
    std::uint64_t at = 0;
    const auto write = [&](const std::string& text) {
        auto done = file.write(at, text);
        at += text.size();
        return done;
    };
    if (auto done = write(header("snapshot")); done.has_error()) {
        return done.error();
    }
    std::uint64_t last = 0;
    store_changes some;
    for (const auto& [key, value] : from.items) {
        some.put(key, value);
        if (some.text().size() >= frame_bytes) {
            if (auto done = write(frame(++last, some.text())); done.has_error()) {
                return done.error();
            }
            some.clear();
        }
    }
    const std::string end = some.text() + "=" + std::to_string(from.items.size()) + "\n";
    if (auto done = write(frame(++last, end)); done.has_error()) {
        return done.error();
    }
    if (auto done = file.sync(); done.has_error()) {
        return done.error();
    }
    if (auto done = files.rename(at_first, name); done.has_error()) {
        return done.error();
    }
    if (auto done = files.sync_folder(); done.has_error()) {
        return done.error();
    }
    return at;
}

} // namespace

void store_changes::put(std::string_view key, std::string_view value)
{
    text_ += '+';
    text_ += key;
    text_ += '\t';
    text_ += value;
    text_ += '\n';
}

void store_changes::erase(std::string_view key)
{
    text_ += '-';
    text_ += key;
    text_ += '\n';
}

void store_changes::erase_all(std::string_view prefix)
{
    text_ += '*';
    text_ += prefix;
    text_ += '\n';
}

result<store_contents> read_store(store_files& files, std::uint64_t end)
{
    const auto there = look_for_files(files);
    if (there.has_error()) {
        return there.error();
    }
    store_contents out;
    const auto take = [&](std::string_view prefix, std::uint64_t number,
                          auto read) -> result<void> {
        const std::string name = file_name(prefix, number);
        auto text = files.read(name);
        if (text.has_error()) {
            return text.error();
        }
        out.texts.push_back(std::move(*text));
        return read(out, files.path() + "/" + name, std::string_view{out.texts.back()});
    };
    if (!there->snapshots.empty()) {
        out.snapshot = there->snapshots.back();
        if (auto done = take(snapshot_prefix, out.snapshot, read_snapshot); done.has_error()) {
            return done.error();
        }
    }
    // A snapshot has what was in the journals before that of its number.
    std::uint64_t expected = std::max<std::uint64_t>(out.snapshot, 1);
    out.next = expected;
    for (const std::uint64_t number : there->journals) {
        if (number < expected || number >= end) {
            continue;
        }
        if (number != expected) {
            return error{
                "the kept configuration is damaged: " + files.path() + "/" +
                file_name(out.snapshot == 0 && expected == 1 ? snapshot_prefix : journal_prefix,
                          out.snapshot == 0 && expected == 1 ? number : expected) +
                " is missing; put it back, or give another folder with --state-dir"};
        }
        if (auto done = take(journal_prefix, number, read_journal); done.has_error()) {
            return done.error();
        }
        out.next = ++expected;
    }
    return out;
}

result<std::uint64_t> fold_store(store_files& files, std::uint64_t number)
{
    const auto from = read_store(files, number);
    if (from.has_error()) {
        return from.error();
    }
    const auto written = write_snapshot(files, *from, number);
    if (written.has_error()) {
        (void)files.remove(file_name(snapshot_prefix, number) + std::string{unfinished});
        return written.error();
    }
    const auto there = look_for_files(files);
    if (there.has_error()) {
        return there.error();
    }
    for (const std::uint64_t old : there->snapshots) {
        if (old < number) {
            (void)files.remove(file_name(snapshot_prefix, old));
        }
    }
    for (const std::uint64_t old : there->journals) {
        if (old < number) {
            (void)files.remove(file_name(journal_prefix, old));
        }
    }
    for (const std::string& name : there->unfinished) {
        (void)files.remove(name);
    }
    return *written;
}

store_journal::store_journal(std::unique_ptr<store_file> file, std::uint64_t number) noexcept
    : file_{std::move(file)}, number_{number}
{}

std::uint64_t store_journal::frame_size(std::uint64_t text) noexcept
{
    return text + longest_frame_head;
}

result<store_journal> store_journal::begin(store_files& files, std::uint64_t number,
                                           std::uint64_t room)
{
    const std::string name = file_name(journal_prefix, number);
    auto file = files.create(name);
    if (file.has_error()) {
        return file.error();
    }
    store_journal out{std::move(*file), number};
    const auto ready = [&]() -> result<void> {
        if (auto done = out.allocate(room); done.has_error()) {
            return done;
        }
        if (auto done = out.file_->write(0, header("journal")); done.has_error()) {
            return done;
        }
        if (auto done = out.file_->sync(); done.has_error()) {
            return done;
        }
        return files.sync_folder();
    }();
    if (ready.has_error()) {
        (void)files.remove(name);
        return ready.error();
    }
    return out;
}

result<void> store_journal::allocate(std::uint64_t room)
{
    return file_->allocate(header("journal").size() + room);
}

result<void> store_journal::append(std::string_view text)
{
    const std::string f = frame(last_frame_ + 1, text);
    if (auto done = file_->write(header("journal").size() + size_, f); done.has_error()) {
        return done;
    }
    if (auto done = file_->sync(); done.has_error()) {
        return done;
    }
    size_ += f.size();
    ++last_frame_;
    return {};
}

} // namespace strait::control
