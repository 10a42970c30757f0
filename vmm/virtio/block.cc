// SPDX-License-Identifier: BSD-3-Clause
// Disks and their requests.
#include "vmm/virtio/block.hh"

#include "control/log.hh"
#include "vmm/file_lock.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace strait::vmm::virtio {

namespace {

using control::log_level;
using control::log_limited;
using dataplane::guest_span;
using ports::describe;
using ports::error;
using ports::result;

enum request : std::uint32_t {
    in = 0,
    out = 1,
    flush_cache = 4,
    get_id = 8,
    discard_sectors = 11,
    write_zero_sectors = 13,
};

constexpr std::uint32_t unmap = 1; // a range's flag

// The device's configuration: 5.2.4.
struct configuration {
    std::uint64_t capacity;
    std::uint32_t size_max;
    std::uint32_t seg_max;
    std::uint32_t geometry;
    std::uint32_t block_size;
    std::uint64_t topology;
    std::uint8_t writeback;
    std::uint8_t unused0;
    std::uint16_t queues;
    std::uint32_t max_discard_sectors;
    std::uint32_t max_discard_segments;
    std::uint32_t discard_alignment; // sectors
    std::uint32_t max_write_zeroes_sectors;
    std::uint32_t max_write_zeroes_segments;
    std::uint8_t write_zeroes_may_unmap;
    std::array<std::uint8_t, 3> unused1;
};
constexpr std::size_t configuration_bytes = 60;
static_assert(offsetof(configuration, unused1) + 3 == configuration_bytes);

constexpr int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr int zeroes = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

// 0, or errno.
int allocate(int file, int mode, std::uint64_t offset, std::uint64_t bytes) noexcept
{
    while (::fallocate(file, mode, static_cast<off_t>(offset), static_cast<off_t>(bytes)) != 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

result<std::uint64_t> size_of(int file, const struct stat& status)
{
    if (!S_ISBLK(status.st_mode)) {
        return static_cast<std::uint64_t>(status.st_size);
    }
    std::uint64_t bytes = 0;
    if (::ioctl(file, BLKGETSIZE64, &bytes) != 0) {
        return error{describe(errno)};
    }
    return bytes;
}

// Punching beyond a file's end does nothing, where it can be done. A block device refuses that, and
// says in sysfs, its own or its whole disk's, what it can do.
bool can_punch(int file, const struct stat& status, std::uint64_t bytes)
{
    if (!S_ISBLK(status.st_mode)) {
        return allocate(file, hole, bytes, disk::sector) == 0;
    }
    const std::string device = "/sys/dev/block/" + std::to_string(major(status.st_rdev)) + ":" +
                               std::to_string(minor(status.st_rdev));
    for (const char* const folder : {"/queue/", "/../queue/"}) {
        std::uint64_t most = 0;
        if (std::ifstream{device + folder + "write_zeroes_max_bytes"} >> most) {
            return most != 0;
        }
    }
    return false;
}

// Moves all of `data` by calls that may move a part of it. 0, or errno; ENODATA at the file's end.
template <typename Call>
int transfer(int file, std::uint64_t offset, std::span<guest_span> data, Call call) noexcept
{
    while (!data.empty()) {
        const ssize_t moved = call(file, offset, data);
        if (moved < 0 && errno != EINTR) {
            return errno;
        }
        if (moved == 0) {
            return ENODATA;
        }
        if (moved > 0) {
            offset += static_cast<std::uint64_t>(moved);
            drop_front(data, static_cast<std::size_t>(moved));
        }
    }
    return 0;
}

} // namespace

// As a guest lays them out: 5.2.6.
struct disk::header {
    std::uint32_t type;
    std::uint32_t reserved;
    std::uint64_t sector;
};
struct disk::range {
    std::uint64_t sector;
    std::uint32_t sectors;
    std::uint32_t flags;
};

result<disk> disk::open(const disk_options& o)
{
    const std::string name = "the disk " + o.path;
    if (o.serial.size() > serial_bytes) {
        return error{"the serial number " + o.serial + " of " + name + " is longer than " +
                     std::to_string(serial_bytes) + " bytes"};
    }
    disk d;
    d.path_ = o.path;
    d.read_only_ = o.read_only;
    std::ranges::copy(o.serial, d.serial_.begin());
    // Not to wait for the writer of a FIFO.
    d.file_ = dataplane::file_descriptor{
        ::open(o.path.c_str(), (o.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK)};
    struct stat status {};
    if (!d.file_ || ::fstat(d.file_.get(), &status) != 0) {
        return error{name + " cannot be opened" + (o.read_only ? ": " : " for writing: ") +
                     describe(errno)};
    }
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
        return error{name + " is neither a regular file nor a block device"};
    }
    // Before its size is looked at: whoever has it locked may be making it.
    if (const int code = lock_file(d.file_.get(), o.read_only ? F_RDLCK : F_WRLCK); code != 0) {
        if (code != EAGAIN && code != EACCES) {
            return error{name + " cannot be locked: " + describe(code)};
        }
        return error{name + (o.read_only ? " is being written by another process"
                                         : " is in use by another process")};
    }
    const auto bytes = size_of(d.file_.get(), status);
    if (bytes.has_error()) {
        return error{name + " does not say its size: " + bytes.error().message};
    }
    if (*bytes == 0) {
        return error{name + " is empty"};
    }
    if (*bytes % sector != 0) {
        return error{name + " has " + std::to_string(*bytes) +
                     " bytes, which is no whole number of sectors of 512; `truncate -s %512 " +
                     o.path + "` fills the last one"};
    }
    d.sectors_ = *bytes / sector;
    d.can_discard_ = !o.read_only && can_punch(d.file_.get(), status, *bytes);
    return d;
}

queue_server::outcome disk::answer(chain& c, bool durable)
{
    header h;
    guest_span status;
    if (!c.read(std::as_writable_bytes(std::span{&h, 1}))) {
        return {.fault = "a block request is shorter than its header"};
    }
    // Whatever becomes of it: its status stands last and was written.
    const std::uint32_t written = c.writable_bytes();
    if (!c.take_last(status)) {
        return {.fault = "a block request has no room for its status"};
    }
    const std::uint64_t moved = std::uint64_t{c.readable_bytes()} + c.writable_bytes();
    block_status s = perform(h, c);
    const bool wrote = h.type == out || h.type == write_zero_sectors || h.type == discard_sectors;
    if (durable && wrote && s == block_status::ok) {
        s = flush();
    }
    status.copy_in(&s, 0, sizeof s);
    return {.written = written, .moved = moved};
}

block_status disk::perform(const header& h, chain& c)
{
    switch (h.type) {
    case in:
        return read(h, c);
    case out:
        return write(h, c);
    case flush_cache:
        return flush();
    case get_id:
        return tell_serial(c);
    case discard_sectors:
    case write_zero_sectors:
        return clear(h, c);
    default:
        return block_status::unsupported;
    }
}

// Whether `bytes` from sector `first` on are whole sectors of the disk, and no more than a request
// may move.
bool disk::holds(std::uint64_t first, std::uint64_t bytes) const noexcept
{
    return bytes % sector == 0 && bytes <= request_bytes && first <= sectors_ &&
           bytes / sector <= sectors_ - first;
}

block_status disk::failed(std::string_view what, int code) const
{
    log_limited(log_level::error, "disk",
                path_ + ": " + std::string{what} + ": " +
                    (code == ENODATA ? "the file is shorter than it was" : describe(code)));
    return block_status::io_error;
}

block_status disk::read(const header& h, chain& c)
{
    if (!holds(h.sector, c.writable_bytes())) {
        return block_status::io_error;
    }
    const int code = transfer(file_.get(), h.sector * sector, c.writable(), dataplane::read_file);
    return code == 0 ? block_status::ok : failed("a read failed", code);
}

block_status disk::write(const header& h, chain& c)
{
    if (read_only_ || !holds(h.sector, c.readable_bytes())) {
        return block_status::io_error;
    }
    const int code = transfer(file_.get(), h.sector * sector, c.readable(), dataplane::write_file);
    return code == 0 ? block_status::ok : failed("a write failed", code);
}

// The kernel tells once that it could not write, and forgets what it had. So from then on there is
// nothing more to rely on, and the guest must not be told otherwise.
block_status disk::flush()
{
    if (flush_failed_) {
        return block_status::io_error;
    }
    while (::fdatasync(file_.get()) != 0) {
        if (errno != EINTR) {
            flush_failed_ = true;
            return failed("what was written is lost", errno);
        }
    }
    return block_status::ok;
}

block_status disk::tell_serial(chain& c) const
{
    return c.write(std::as_bytes(std::span{serial_})) ? block_status::ok : block_status::io_error;
}

// Discard and write zeroes: of one range, as the configuration says.
block_status disk::clear(const header& h, chain& c)
{
    const bool discarding = h.type == discard_sectors;
    if (read_only_ || (discarding && !can_discard_)) {
        return block_status::unsupported;
    }
    range r;
    if (c.readable_bytes() != sizeof r || !c.read(std::as_writable_bytes(std::span{&r, 1})) ||
        !holds(r.sector, std::uint64_t{r.sectors} * sector)) {
        return block_status::io_error;
    }
    if ((r.flags & ~(discarding ? 0 : unmap)) != 0) {
        return block_status::unsupported;
    }
    if (r.sectors == 0) {
        return block_status::ok;
    }
    return discarding ? discard(r) : write_zeroes(r);
}

block_status disk::discard(const range& r)
{
    const int code =
        allocate(file_.get(), hole, r.sector * sector, std::uint64_t{r.sectors} * sector);
    return code == 0 ? block_status::ok : failed("a discard failed", code);
}

// Space is given back only if the guest says so. Where the host cannot make a range read as zeroes,
// zeroes are written.
block_status disk::write_zeroes(const range& r)
{
    const std::uint64_t offset = r.sector * sector;
    const std::uint64_t bytes = std::uint64_t{r.sectors} * sector;
    const bool give_back = (r.flags & unmap) != 0 && can_discard_;
    const int code = allocate(file_.get(), give_back ? hole : zeroes, offset, bytes);
    if (code == EOPNOTSUPP || code == EINVAL) {
        return write_zeroes_out(offset, bytes);
    }
    return code == 0 ? block_status::ok : failed("zeroes were not written", code);
}

block_status disk::write_zeroes_out(std::uint64_t offset, std::uint64_t bytes)
{
    static constexpr std::array<std::byte, 65536> nothing{};
    while (bytes != 0) {
        const std::size_t some = std::min<std::uint64_t>(bytes, nothing.size());
        const ssize_t done =
            ::pwrite(file_.get(), nothing.data(), some, static_cast<off_t>(offset));
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return failed("zeroes were not written", errno);
        }
        offset += static_cast<std::uint64_t>(done);
        bytes -= static_cast<std::uint64_t>(done);
    }
    return block_status::ok;
}

block::block(disk& d, const vhost::guest_memory& memory, const std::string& thread_name,
             thread_begin* begin)
    : disk_{d}, server_{memory, thread_name, begin, [this](chain& c) {
                            return disk_.answer(c, durable_);
                        }}
{}

std::uint64_t block::features() noexcept
{
    std::uint64_t all = queue_features;
    const auto add = [&](unsigned bit) { all |= std::uint64_t{1} << bit; };
    add(block_feature::size_max);
    add(block_feature::seg_max);
    add(block_feature::block_size);
    if (disk_.read_only()) {
        add(block_feature::read_only);
        return all;
    }
    add(block_feature::flush);
    add(block_feature::write_zeroes);
    if (disk_.can_discard()) {
        add(block_feature::discard);
    }
    return all;
}

std::size_t block::config_size() const noexcept
{
    return configuration_bytes;
}

void block::read_config(std::size_t offset, std::span<std::byte> to) noexcept
{
    constexpr std::uint32_t most = disk::request_bytes / disk::sector;
    configuration c{};
    c.capacity = disk_.sectors();
    c.size_max = disk::segment_bytes;
    c.seg_max = disk::most_segments;
    c.block_size = disk::sector;
    c.queues = 1;
    if (disk_.can_discard()) {
        c.max_discard_sectors = most;
        c.max_discard_segments = 1;
        c.discard_alignment = 4096 / disk::sector; // what file systems give back at least
    }
    if (!disk_.read_only()) {
        c.max_write_zeroes_sectors = most;
        c.max_write_zeroes_segments = 1;
        c.write_zeroes_may_unmap = disk_.can_discard() ? 1 : 0;
    }
    std::memcpy(to.data(), reinterpret_cast<const std::byte*>(&c) + offset, to.size());
}

void block::start(std::uint64_t features, std::span<const queue_setup> queues)
{
    // The thread is at rest, and sees it with what is posted to it now.
    durable_ = !vhost::has_feature(features, block_feature::flush);
    server_.start(features, queues.front());
}

} // namespace strait::vmm::virtio
