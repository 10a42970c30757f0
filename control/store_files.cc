// SPDX-License-Identifier: BSD-3-Clause
// A folder of the system's.
#include "control/store_files.hh"

#include "dataplane/file_descriptor.hh"

#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace strait::control {

namespace {

using dataplane::file_descriptor;
using ports::error;
using ports::result;

error failed(const std::string& what, int code)
{
    return {what + ": " + ports::describe(code)};
}

class folder_file : public store_file {
public:
    folder_file(std::string path, file_descriptor file)
        : path_{std::move(path)}, file_{std::move(file)}
    {}

    result<void> allocate(std::uint64_t bytes) override
    {
        int code = EINTR;
        while (code == EINTR) {
            code = ::posix_fallocate(file_.get(), 0, static_cast<off_t>(bytes));
        }
        if (code != 0) {
            return failed(path_ + " cannot be made longer", code);
        }
        return {};
    }

    result<void> write(std::uint64_t at, std::string_view text) override
    {
        while (!text.empty()) {
            const ssize_t n =
                ::pwrite(file_.get(), text.data(), text.size(), static_cast<off_t>(at));
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n <= 0) {
                return failed(path_ + " cannot be written", n < 0 ? errno : ENOSPC);
            }
            text.remove_prefix(static_cast<std::size_t>(n));
            at += static_cast<std::uint64_t>(n);
        }
        return {};
    }

    result<void> sync() override
    {
        if (::fdatasync(file_.get()) != 0) {
            return failed(path_ + " cannot be written", errno);
        }
        return {};
    }

private:
    std::string path_;
    file_descriptor file_;
};

class folder_files : public store_files {
public:
    folder_files(std::string path, file_descriptor folder)
        : path_{std::move(path)}, folder_{std::move(folder)}
    {}

    std::string path() const override { return path_; }

    result<std::vector<std::string>> list() override
    {
        const int copy = ::openat(folder_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR* const entries = copy < 0 ? nullptr : ::fdopendir(copy);
        if (entries == nullptr) {
            return failed("the folder " + path_ + " cannot be read", errno);
        }
        std::vector<std::string> out;
        while (const dirent* const one = ::readdir(entries)) {
            out.emplace_back(one->d_name);
        }
        ::closedir(entries);
        return out;
    }

    result<std::string> read(const std::string& name) override
    {
        const file_descriptor file{
            ::openat(folder_.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
        struct stat status {};
        if (!file || ::fstat(file.get(), &status) != 0) {
            return failed(full(name) + " cannot be read", errno);
        }
        if (!S_ISREG(status.st_mode)) {
            return error{full(name) + " cannot be read: it is no regular file"};
        }
        std::string out(static_cast<std::size_t>(status.st_size), '\0');
        std::size_t size = 0;
        while (size < out.size()) {
            const ssize_t n = ::read(file.get(), out.data() + size, out.size() - size);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n < 0) {
                return failed(full(name) + " cannot be read", errno);
            }
            if (n == 0) {
                break;
            }
            size += static_cast<std::size_t>(n);
        }
        out.resize(size);
        return {boost::system::in_place_value, std::move(out)};
    }

    result<std::unique_ptr<store_file>> create(const std::string& name) override
    {
        constexpr mode_t owner_alone = 0600;
        file_descriptor file{::openat(folder_.get(), name.c_str(),
                                      O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                                      owner_alone)};
        if (!file) {
            return failed(full(name) + " cannot be made", errno);
        }
        return std::unique_ptr<store_file>{
            std::make_unique<folder_file>(full(name), std::move(file))};
    }

    result<void> rename(const std::string& from, const std::string& to) override
    {
        if (::renameat(folder_.get(), from.c_str(), folder_.get(), to.c_str()) != 0) {
            return failed(full(from) + " cannot be renamed to " + to, errno);
        }
        return {};
    }

    result<void> remove(const std::string& name) override
    {
        if (::unlinkat(folder_.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
            return failed(full(name) + " cannot be removed", errno);
        }
        return {};
    }

    result<void> sync_folder() override
    {
        if (::fsync(folder_.get()) != 0) {
            return failed("the folder " + path_ + " cannot be written", errno);
        }
        return {};
    }

private:
    std::string full(const std::string& name) const { return path_ + "/" + name; }

    std::string path_;
    file_descriptor folder_;
};

} // namespace

result<std::unique_ptr<store_files>> open_store_folder(std::string path)
{
    namespace fs = std::filesystem;
    std::error_code code;
    path = fs::absolute(path, code).lexically_normal().string();
    while (path.size() > 1 && path.back() == '/') {
        path.pop_back();
    }
    fs::create_directories(fs::path{path}.parent_path(), code);
    constexpr mode_t owner_alone = 0700;
    if (::mkdir(path.c_str(), owner_alone) != 0 && errno != EEXIST) {
        return failed("the folder " + path + ", where the configuration is kept, cannot be made",
                      errno);
    }
    file_descriptor folder{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) {
        return failed("the folder " + path + ", where the configuration is kept, cannot be opened",
                      errno);
    }
    if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) {
        return errno != EWOULDBLOCK ? failed("the folder " + path + " cannot be locked", errno)
                                    : error{"another straitd keeps its configuration in " + path +
                                            "; give this one a folder of its own with --state-dir"};
    }
    return std::unique_ptr<store_files>{
        std::make_unique<folder_files>(std::move(path), std::move(folder))};
}

} // namespace strait::control
