// SPDX-License-Identifier: BSD-3-Clause
// Reading it.
#include "control/config_file.hh"

#include "dataplane/file_descriptor.hh"

#include <array>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace strait::control {

namespace {

// One that has no name, so that whoever started us holds its other end: a FIFO in a folder may wait
// for its writer for ever.
bool is_pipe(int file, const struct stat& status)
{
    struct statfs system {};
    return S_ISFIFO(status.st_mode) && ::fstatfs(file, &system) == 0 &&
           system.f_type == PIPEFS_MAGIC;
}

} // namespace

ports::result<std::string> read_config_file(const std::string& path, const named_file& named)
{
    const std::string taker{named.taker};
    const auto unreadable = [&](const std::string& why) {
        return ports::error{std::string{named.what} + " " + path + " cannot be read: " + why};
    };
    // Not to wait for a FIFO's other end.
    const dataplane::file_descriptor file{
        ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0) {
        return unreadable(ports::describe(errno));
    }
    if (S_ISDIR(status.st_mode)) {
        return unreadable("it is a folder; " + taker + " takes a file");
    }
    if (is_pipe(file.get(), status)) {
        (void)::fcntl(file.get(), F_SETFL, 0); // blocks
    } else if (!S_ISREG(status.st_mode)) {
        return unreadable("it is neither a regular file nor a pipe, which " + taker + " takes");
    }
    std::string text;
    std::array<char, 65536> some;
    for (;;) {
        const ssize_t size = ::read(file.get(), some.data(), some.size());
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size < 0) {
            return unreadable(ports::describe(errno));
        }
        if (size == 0) {
            return {boost::system::in_place_value, std::move(text)};
        }
        text.append(some.data(), static_cast<std::size_t>(size));
        if (text.size() > named.longest) {
            return unreadable("it is longer than " + std::to_string(named.longest >> 20U) +
                              " MiB, the most that " + taker + " takes");
        }
    }
}

} // namespace strait::control
