// SPDX-License-Identifier: BSD-3-Clause
// A map of texts by key that outlives the process, in files that are only appended to or replaced:
// a snapshot with all that there was at one time, and journals of the changes since, the newest of
// which is written. What keys and values mean is not known here; when something is written is
// store_writer.hh's business, and docs/configuration.md says why it is so.
//
// Each change that is written is one frame, "@CRC LENGTH NUMBER" and its lines, which counts whole
// or not at all. Keys have no tab, values no end of line.
#pragma once

#include "control/store_files.hh"
#include "ports/error.hh"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

inline constexpr unsigned store_version = 1;

// Changes in their order, to be written as one.
class store_changes {
public:
    void put(std::string_view key, std::string_view value);
    void erase(std::string_view key);
    // All whose keys begin so.
    void erase_all(std::string_view prefix);

    [[nodiscard]] const std::string& text() const noexcept { return text_; }
    [[nodiscard]] bool empty() const noexcept { return text_.empty(); }
    void append(const store_changes& later) { text_ += later.text_; }
    void clear() { text_.clear(); }

private:
    std::string text_;
};

// What is in the files.
struct store_contents {
    std::map<std::string_view, std::string_view> items; // in `texts`
    std::deque<std::string> texts;
    std::uint64_t snapshot{0};       // the one that was read; 0: none
    std::uint64_t next{1};           // the number of the journal to begin
    std::uint64_t snapshot_bytes{0}; // and what of it and of the journals was read
    std::uint64_t journal_bytes{0};
    std::vector<std::string> torn{}; // journals whose last frame was not written whole
};
// Of journals only those before `end`. Refused: a newer version's, and what is damaged. A last
// frame that was not written whole is left out: nobody was told that it is kept.
[[nodiscard]] ports::result<store_contents> read_store(store_files& files,
                                                       std::uint64_t end = ~std::uint64_t{0});

// Makes snapshot `number` of what is in the files of before, and removes these. Its size.
[[nodiscard]] ports::result<std::uint64_t> fold_store(store_files& files, std::uint64_t number);

// The journal that is written. allocate() may be called beside the others.
class store_journal {
public:
    // Makes the file, with room for so many bytes of frames.
    [[nodiscard]] static ports::result<store_journal>
    begin(store_files& files, std::uint64_t number, std::uint64_t room);
    [[nodiscard]] static std::uint64_t frame_size(std::uint64_t text) noexcept;

    [[nodiscard]] ports::result<void> allocate(std::uint64_t room);
    // Returns when it would outlive a power cut.
    [[nodiscard]] ports::result<void> append(std::string_view text);

    [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; } // of frames

private:
    store_journal(std::unique_ptr<store_file> file, std::uint64_t number) noexcept;

    std::unique_ptr<store_file> file_;
    std::uint64_t number_;
    std::uint64_t size_{0};
    std::uint64_t last_frame_{0};
};

} // namespace strait::control
