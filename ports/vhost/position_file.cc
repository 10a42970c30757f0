// SPDX-License-Identifier: BSD-3-Clause
// Positions of packed rings: recovery, and the file they are kept in.
#include "ports/vhost/position_file.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace strait::vhost {

namespace {

packed_place next_of(std::uint64_t word) noexcept
{
    return packed_place::decoded(static_cast<std::uint16_t>(word));
}

packed_place last_of(std::uint64_t word) noexcept
{
    return packed_place::decoded(static_cast<std::uint16_t>(word >> 16));
}

} // namespace

// Of a descriptor in a lap with wrap counter w, the bits AVAIL and USED are: w, !w made available;
// w, w returned; !w, !w returned in the lap before; !w, w made available in the lap before and
// returned by the first descriptor of its batch (in-order), or already available for the lap after.
// A new ring is all zeros, and has been made available once at most: no USED bit anywhere.
std::optional<packed_place> ring_position::recover(const identity& ring,
                                                   const descriptor_reader& read) const
{
    const std::uint64_t announced = announced_.load(std::memory_order_acquire);
    const std::uint64_t confirmed = confirmed_.load(std::memory_order_acquire);
    const identity kept{memory_.load(std::memory_order_relaxed),
                        descriptors_.load(std::memory_order_relaxed),
                        size_.load(std::memory_order_relaxed)};
    if ((announced & known) == 0 || (confirmed & known) == 0 || kept != ring || ring.memory == 0) {
        return std::nullopt;
    }
    const auto bit = [&](packed_place place, std::uint16_t flag) {
        return (read(place.index).flags & flag) != 0;
    };
    const auto was_returned = [&](packed_place place) { // in this lap
        return bit(place, descriptor_flag::used) == place.wrap;
    };
    const auto in_ring = [&](packed_place place) { return place.index < ring.size; };

    std::uint64_t word = confirmed;
    if (announced != confirmed) {
        // Killed between the two: was it published? Its first descriptor, which was available,
        // tells.
        if (!in_ring(next_of(confirmed))) {
            return std::nullopt;
        }
        if (was_returned(next_of(confirmed))) {
            word = announced;
        }
    }
    const packed_place next = next_of(word);
    const packed_place last = last_of(word);
    if ((word & has_last) == 0 || !in_ring(next) || !in_ring(last) || !was_returned(last)) {
        return std::nullopt;
    }
    // By the front end while we were away (packed_layout::refresh() passes over it); in a ring
    // without a USED bit it is one that was never made available.
    const bool next_returned =
        bit(next, descriptor_flag::available) == next.wrap && was_returned(next);
    bool used_before = false;
    for (std::uint32_t i = 0; !used_before && i < ring.size; ++i) {
        used_before = (read(static_cast<std::uint16_t>(i)).flags & descriptor_flag::used) != 0;
    }
    if (!used_before && next_returned) {
        return std::nullopt;
    }
    if (!used_before && next.index != 0) {
        // So stands a ring, too, whose second lap was just finished, with nothing returned in the
        // third; what was returned last is then still there.
        const packed_descriptor at = read(last.index);
        const bool returned = (at.flags & descriptor_flag::available) == 0 &&
                              (at.address != 0 || at.length != 0 || at.id != 0);
        if (!next.wrap || last.wrap || !returned) {
            return std::nullopt;
        }
    }
    return next;
}

void ring_position::begin(const identity& ring, packed_place start) noexcept
{
    const identity kept{memory_.load(std::memory_order_relaxed),
                        descriptors_.load(std::memory_order_relaxed),
                        size_.load(std::memory_order_relaxed)};
    const std::uint64_t confirmed = confirmed_.load(std::memory_order_relaxed);
    const std::uint64_t announced = announced_.load(std::memory_order_relaxed);
    if (kept == ring && (announced & known) != 0) {
        // The same ring goes on where it stood: what is known of its last descriptor stays known.
        if ((confirmed & has_last) != 0 && next_of(confirmed) == start) {
            announced_.store(confirmed, std::memory_order_release);
            return;
        }
        if ((announced & has_last) != 0 && next_of(announced) == start) {
            confirmed_.store(announced, std::memory_order_release);
            return;
        }
    }
    forget();
    memory_.store(ring.memory, std::memory_order_relaxed);
    descriptors_.store(ring.descriptors, std::memory_order_relaxed);
    size_.store(ring.size, std::memory_order_relaxed);
    confirmed_.store(known | start.encoded(), std::memory_order_release);
    announced_.store(known | start.encoded(), std::memory_order_release);
}

void ring_position::forget() noexcept
{
    announced_.store(0, std::memory_order_release);
    confirmed_.store(0, std::memory_order_release);
}

struct position_file::contents {
    static constexpr std::uint64_t layout = 0x7274'7369'6e67'0002ULL;
    // The same with two rings.
    static constexpr std::uint64_t first_layout = 0x7274'7369'6e67'0001ULL;
    static constexpr std::size_t first_size = 64 * 3;

    std::uint64_t magic;
    std::uint64_t padding[7];
    ring_position rings[ring_count];
};

namespace {

// A port's name may hold what a file's may not.
std::string path_of(const std::string& dir, const std::string& port)
{
    std::string name;
    for (const char c : port) {
        constexpr char digits[] = "0123456789abcdef";
        const auto byte = static_cast<unsigned char>(c);
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '_') {
            name += c;
        } else {
            name += {'%', digits[byte >> 4], digits[byte & 15]};
        }
    }
    return dir + "/" + name + ".rings";
}

// Other names of a file in its folder, as a rename leaves them that was cut off by the end of its
// process: no two ports share positions.
void remove_other_names(const std::string& path, const struct stat& of)
{
    std::error_code ignored;
    const std::filesystem::path own{path};
    for (const auto& entry : std::filesystem::directory_iterator{own.parent_path(), ignored}) {
        struct stat other {};
        if (entry.path().filename() != own.filename() &&
            ::lstat(entry.path().c_str(), &other) == 0 && other.st_ino == of.st_ino &&
            other.st_dev == of.st_dev) {
            ::unlink(entry.path().c_str());
        }
    }
}

} // namespace

void position_file::remove(const std::string& dir, const std::string& port) noexcept
{
    ::unlink(path_of(dir, port).c_str());
}

ports::result<void> position_file::link(const std::string& dir, const std::string& port,
                                        const std::string& also)
{
    const std::string from = path_of(dir, port);
    const std::string to = path_of(dir, also);
    if (from == to) {
        return {};
    }
    ::unlink(to.c_str());
    if (::link(from.c_str(), to.c_str()) != 0) {
        return ports::error{"port " + port + ": its ring positions in '" + from +
                            "' cannot be named '" + to + "': " + std::strerror(errno) +
                            "; the run folder must exist and be writable"};
    }
    return {};
}

ports::result<position_file> position_file::open(const std::string& dir, const std::string& port)
{
    static_assert(sizeof(contents) == 64 * (1 + ring_count));
    const std::string path = path_of(dir, port);
    const auto failed = [&](const char* what) {
        return ports::error{"port " + port + ": cannot " + what + " its ring positions in '" +
                            path + "': " + std::strerror(errno) +
                            "; the run folder must exist and be writable"};
    };

    // Whether the file was not there, with something in it to be kept when this fails.
    bool anew = true;
    const auto discard = [&](ports::error e) {
        if (anew) {
            ::unlink(path.c_str());
        }
        return e;
    };
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return failed("open");
    }
    struct stat status {};
    const bool is_file = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    const auto size = is_file ? static_cast<std::size_t>(status.st_size) : 0;
    anew = size != sizeof(contents) && size != contents::first_size;
    if (is_file && status.st_nlink > 1) {
        remove_other_names(path, status);
    }
    if (size != sizeof(contents) && ::ftruncate(fd, sizeof(contents)) != 0) {
        auto error = failed("size");
        ::close(fd);
        return discard(std::move(error));
    }
    // Reserved now: a full file system must not become a SIGBUS in a worker.
    if (const int code = ::posix_fallocate(fd, 0, sizeof(contents)); code != 0) {
        errno = code;
        auto error = failed("reserve room for");
        ::close(fd);
        return discard(std::move(error));
    }
    void* at = ::mmap(nullptr, sizeof(contents), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    auto error = failed("map");
    ::close(fd);
    if (at == MAP_FAILED) {
        return discard(std::move(error));
    }
    position_file file;
    file.contents_ = static_cast<contents*>(at);
    // Whoever cuts the file off, by mistake or as root, is not to end every guest's switch.
    file.lost_ = std::make_unique<std::atomic<bool>>(false);
    file.guard_ = {at, sizeof(contents), *file.lost_};
    if (const std::uint64_t found = anew ? 0 : file.contents_->magic;
        found == contents::first_layout) {
        file.contents_->magic = contents::layout; // the rings behind those two are zeros
    } else if (found != contents::layout) {
        std::memset(at, 0, sizeof(contents));
        new (at) contents{contents::layout, {}, {}};
    }
    return file;
}

position_file::position_file(position_file&& other) noexcept
    : contents_{std::exchange(other.contents_, nullptr)},
      lost_{std::move(other.lost_)},
      guard_{std::move(other.guard_)}
{}

position_file& position_file::operator=(position_file&& other) noexcept
{
    std::swap(contents_, other.contents_);
    std::swap(lost_, other.lost_);
    std::swap(guard_, other.guard_);
    return *this;
}

position_file::~position_file()
{
    if (contents_ != nullptr) {
        guard_ = {};
        ::munmap(contents_, sizeof(contents));
    }
}

ring_position* position_file::ring(std::size_t index) const noexcept
{
    return contents_ == nullptr ? nullptr : &contents_->rings[index];
}

bool position_file::lost() const noexcept
{
    return lost_ != nullptr && lost_->load(std::memory_order_acquire);
}

} // namespace strait::vhost
