// SPDX-License-Identifier: BSD-3-Clause
// Reading and writing it.
#include "control/vm_folder.hh"

#include "control/utf8.hh"
#include "control/vm_process.hh"
#include "ports/number.hh"
#include "vmm/exit_status.hh"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace strait::control {

namespace json = boost::json;
namespace fs = std::filesystem;
using dataplane::file_descriptor;
using ports::describe;
using ports::error;
using ports::result;

namespace {

file_descriptor open_folder(const std::string& path)
{
    return file_descriptor{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)};
}

std::vector<fs::path> contents(const fs::path& folder)
{
    std::vector<fs::path> all;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator{folder, ignored}) {
        all.push_back(entry.path());
    }
    return all;
}

// Where what the machine before left is, while the next one may turn out not to be.
fs::path last_one(const std::string& folder)
{
    return fs::path{folder} / "last";
}

// Whether the machine that has this process file may still be on its way to its control socket.
bool has_just_begun(const std::string& process)
{
    constexpr std::chrono::minutes a_while{1};
    std::error_code code;
    const auto begun = fs::last_write_time(process, code);
    return code || fs::file_time_type::clock::now() - begun < a_while;
}

// Whether the path still leads there.
bool is_at(const file_descriptor& folder, const std::string& path)
{
    struct stat one {};
    struct stat other {};
    return ::fstat(folder.get(), &one) == 0 && ::stat(path.c_str(), &other) == 0 &&
           one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

} // namespace

vm_folder::vm_folder(const std::string& run_dir, std::string name)
    : name_{std::move(name)}, path_{run_dir + "/vm/" + name_}
{}

bool vm_folder::exists() const
{
    std::error_code ignored;
    return fs::is_directory(path_, ignored);
}

result<file_descriptor> vm_folder::make_and_lock() const
{
    for (;;) {
        std::error_code code;
        fs::create_directories(fs::path{path_}.parent_path(), code);
        constexpr mode_t mode = 0711; // whoever may open it may lock it
        if (code || (::mkdir(path_.c_str(), mode) != 0 && errno != EEXIST)) {
            return error{"the folder " + path_ +
                         " cannot be made: " + describe(code ? code.value() : errno)};
        }
        auto locked = lock_if_there();
        if (locked.has_error()) {
            return locked.error();
        }
        if (*locked) {
            return std::move(**locked);
        }
    }
}

result<file_descriptor> vm_folder::lock() const
{
    auto locked = lock_if_there();
    if (locked.has_error()) {
        return locked.error();
    }
    if (!*locked) {
        return error{"virtual machine " + name_ + " was removed meanwhile"};
    }
    return std::move(**locked);
}

result<std::optional<file_descriptor>> vm_folder::lock_if_there() const
{
    // `vm list` may have the lock for a moment.
    constexpr int tries = 20;
    constexpr std::chrono::milliseconds moment{10};
    for (int i = 0; i < tries; ++i) {
        auto folder = open_folder(path_);
        if (!folder && errno == ENOENT) {
            return std::nullopt;
        }
        if (!folder) {
            return error{"the folder " + path_ + " cannot be opened: " + describe(errno)};
        }
        if (::flock(folder.get(), LOCK_EX | LOCK_NB) == 0) {
            return is_at(folder, path_) ? std::optional{std::move(folder)} : std::nullopt;
        }
        std::this_thread::sleep_for(moment);
    }
    return error{"another straitctl is at work on virtual machine " + name_};
}

bool vm_folder::is_locked() const
{
    const auto folder = open_folder(path_);
    return folder && ::flock(folder.get(), LOCK_SH | LOCK_NB) != 0;
}

result<void> vm_folder::prepare() const
{
    std::error_code code;
    const fs::path last = last_one(path_);
    const std::vector<fs::path> left = contents(path_);
    if (!left.empty()) {
        // Of one that a killed straitctl was to put in the last one's place, and did.
        fs::remove_all(last, code);
        fs::create_directory(last, code);
        for (const auto& path : left) {
            if (!code && path != last) {
                fs::rename(path, last / path.filename(), code);
            }
        }
        if (code) {
            return error{"what the machine before left in " + path_ +
                         " cannot be put aside: " + code.message()};
        }
    }
    constexpr mode_t mode = 0750;
    if (::mkdir(sockets().c_str(), mode) != 0) {
        return error{"the folder " + sockets() + " cannot be made: " + describe(errno)};
    }
    return {};
}

void vm_folder::forget_last() const
{
    std::error_code ignored;
    fs::remove_all(last_one(path_), ignored);
}

void vm_folder::restore() const
{
    std::error_code ignored;
    const fs::path last = last_one(path_);
    if (!fs::exists(last, ignored)) {
        remove();
        return;
    }
    for (const auto& path : contents(path_)) {
        if (path != last) {
            fs::remove_all(path, ignored);
        }
    }
    for (const auto& path : contents(last)) {
        fs::rename(path, fs::path{path_} / path.filename(), ignored);
    }
    fs::remove(last, ignored);
}

result<void> vm_folder::give_sockets_to(uid_t user, gid_t group) const
{
    if (::lchown(sockets().c_str(), user, group) != 0) {
        return error{"the folder " + sockets() + " cannot be given to user " +
                     std::to_string(user) + ": " + describe(errno)};
    }
    return {};
}

result<void> vm_folder::write_config(const json::object& parameters) const
{
    std::ofstream file{config()};
    if (file) {
        // As the log: a command line may have secrets.
        (void)::chmod(config().c_str(), 0640); // NOLINT(*-magic-numbers)
        file << json::serialize(parameters) << '\n';
    }
    if (!file.flush()) {
        return error{config() + " cannot be written: " + describe(errno)};
    }
    return {};
}

void vm_folder::remove() const
{
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

service_address vm_folder::service(std::chrono::seconds patience) const
{
    return {.path = control(),
            .name = "virtual machine " + name_,
            .program = "strait-vmm",
            .advice = "straitctl vm list tells how it ended",
            .patience = patience};
}

std::string vm_folder::last_log_line() const
{
    std::ifstream file{log()};
    std::string line;
    std::string last;
    while (std::getline(file, line)) {
        if (!line.empty()) {
            last = line;
        }
    }
    // Behind the time and the part that speaks.
    const auto colon = last.find(": ");
    return as_utf8(colon == std::string::npos ? last : last.substr(colon + 2));
}

std::optional<vm_end> vm_folder::end() const
{
    std::ifstream file{path_ + '/' + std::string{end_file}};
    std::string how;
    std::string detail;
    if (!(file >> how >> detail)) {
        return std::nullopt;
    }
    if (how != "exited") {
        const bool known = detail.find_first_not_of("0123456789") != std::string::npos;
        return vm_end{std::string{"it was killed by "} + (known ? "SIG" : "signal ") + detail,
                      false};
    }
    const auto log = [this] {
        const std::string line = last_log_line();
        return line.empty() ? std::string{} : ": " + line;
    };
    const auto status = to_number<int>(detail);
    switch (static_cast<vmm::exit_status>(status.value_or(-1))) {
    case vmm::exit_status::powered_off:
        return vm_end{"it switched itself off", true};
    case vmm::exit_status::refused:
        return vm_end{"it never ran" + log(), false};
    case vmm::exit_status::reset:
        return vm_end{"it reset itself", true};
    case vmm::exit_status::failed:
        return vm_end{"it could not go on" + log(), false};
    case vmm::exit_status::killed:
        return vm_end{"it was ended and had not switched itself off", true};
    }
    // That of a process in a jail, which its parent passes on as a shell does.
    constexpr int killed_by = 128;
    if (const char* const signal = ::sigabbrev_np(status.value_or(0) - killed_by)) {
        return vm_end{std::string{"it was killed by SIG"} + signal, false};
    }
    return vm_end{"its process ended with status " + detail, false};
}

json::object vm_folder::look() const
{
    json::object seen{{"name", name_},
                      {"state", "ended"},
                      {"pid", nullptr},
                      {"ended", nullptr},
                      {"info", nullptr}};
    try {
        constexpr std::chrono::seconds patience{2};
        client machine{service(patience)};
        const json::value info = machine.call("vm.info", {});
        const auto* object = info.if_object();
        const auto* state = object != nullptr ? object->if_contains("state") : nullptr;
        const auto* word = state != nullptr ? state->if_string() : nullptr;
        constexpr std::array<std::string_view, 3> known{"running", "paused", "stopping"};
        if (word == nullptr || std::ranges::find(known, std::string_view{*word}) == known.end()) {
            seen["state"] = "silent"; // a VMM that its guest has taken over may say anything
            return seen;
        }
        seen["state"] = *word;
        seen["pid"] = machine.peer();
        seen["info"] = info;
        return seen;
    } catch (const call_error& e) {
        if (!e.absent) {
            seen["state"] = e.denied ? "permission denied" : "silent";
            return seen;
        }
    }
    auto ended = end();
    const bool begins = !ended && is_locked();
    if (begins || (!ended && runs(*this))) {
        seen["state"] = begins || has_just_begun(process()) ? "starting" : "silent";
        if (const pid_t process = noted_process(*this); process > 0) {
            seen["pid"] = process;
        }
        return seen;
    }
    if (!ended) {
        ended = end(); // which it has said before it went
    }
    seen["ended"] = ended ? ended->how : "nothing is known of its end";
    return seen;
}

result<std::vector<std::string>> vm_names(const std::string& run_dir)
{
    std::vector<std::string> names;
    std::error_code code;
    if (!fs::is_directory(run_dir, code)) {
        return error{"there is no run folder " + run_dir + "; is straitd running with --run-dir " +
                     run_dir + "?"};
    }
    const std::string folder = run_dir + "/vm";
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator{folder, code}) {
        if (entry.is_directory(ignored)) {
            names.push_back(entry.path().filename().string());
        }
    }
    if (code && code != std::errc::no_such_file_or_directory) {
        return error{"the folder " + folder + " cannot be read: " + code.message()};
    }
    std::ranges::sort(names);
    return names;
}

} // namespace strait::control
