// SPDX-License-Identifier: BSD-3-Clause
// The block device: which disks it takes, requests of every kind and shape, and what no honest
// driver would ask for. fdatasync() and fallocate() are this program's own, to count and to fail.
#include "vmm/virtio/block.hh"

#include "test_device.hh"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

std::atomic<int> sync_error{0}; // what fdatasync() fails with
std::atomic<unsigned> syncs{0};
std::atomic<int> no_mode{0}; // of fallocate()
std::atomic<int> last_mode{0};

} // namespace

extern "C" int fdatasync(int fd) // NOLINT(readability-inconsistent-declaration-parameter-name)
{
    ++syncs;
    if (sync_error != 0) {
        errno = sync_error;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name)
extern "C" int fallocate(int fd, int mode, off_t offset, off_t length)
{
    last_mode = mode;
    if ((mode & no_mode) != 0) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, length));
}

namespace strait::vmm::virtio::test {
namespace {

namespace feature = vhost::feature;
using testing::EndsWith;
using testing::HasSubstr;

constexpr std::uint32_t sector = disk::sector;
constexpr std::uint64_t flush_feature = std::uint64_t{1} << block_feature::flush;
constexpr int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

enum kind : std::uint32_t { in = 0, out = 1, flush = 4, get_id = 8, discard = 11, zero = 13 };

// A file in a folder of its own.
class image {
public:
    explicit image(std::uint64_t size)
    {
        std::string folder = std::filesystem::temp_directory_path() / "strait-block-XXXXXX";
        EXPECT_NE(::mkdtemp(folder.data()), nullptr);
        folder_ = folder;
        EXPECT_EQ(::close(::open(path().c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
        std::filesystem::resize_file(path(), size);
    }
    image(const image&) = delete;
    image& operator=(const image&) = delete;
    ~image() { std::filesystem::remove_all(folder_); }

    [[nodiscard]] std::string path() const { return folder_ / "image"; }
    [[nodiscard]] std::filesystem::path folder() const { return folder_; }
    [[nodiscard]] bytes content() const
    {
        std::ifstream file{path(), std::ios::binary};
        bytes all(std::filesystem::file_size(path()));
        file.read(reinterpret_cast<char*>(all.data()), static_cast<std::streamsize>(all.size()));
        return all;
    }
    void write(std::uint64_t offset, const bytes& some) const
    {
        std::fstream file{path(), std::ios::binary | std::ios::in | std::ios::out};
        file.seekp(static_cast<std::streamoff>(offset));
        file.write(reinterpret_cast<const char*>(some.data()),
                   static_cast<std::streamsize>(some.size()));
    }
    [[nodiscard]] std::uint64_t allocated() const
    {
        struct stat status {};
        ::stat(path().c_str(), &status);
        return static_cast<std::uint64_t>(status.st_blocks) * 512;
    }

private:
    std::filesystem::path folder_;
};

std::string refusal(const disk_options& o)
{
    const auto opened = disk::open(o);
    return opened.has_error() ? opened.error().message : "accepted";
}

TEST(disk, refuses_what_is_no_disk)
{
    const image good{8 * sector};
    const std::string missing = good.folder() / "missing";
    EXPECT_EQ(refusal({.path = missing}),
              "the disk " + missing + " cannot be opened for writing: No such file or directory");
    EXPECT_THAT(refusal({.path = good.folder(), .read_only = true}),
                EndsWith("is neither a regular file nor a block device"));
    EXPECT_THAT(refusal({.path = good.folder()}), HasSubstr("cannot be opened for writing"));
    const std::string fifo = good.folder() / "fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    EXPECT_THAT(refusal({.path = fifo, .read_only = true}),
                EndsWith("is neither a regular file nor a block device"));
    EXPECT_THAT(refusal({.path = "/dev/null"}), HasSubstr("neither a regular file"));
    const image empty{0};
    EXPECT_EQ(refusal({.path = empty.path()}), "the disk " + empty.path() + " is empty");
    const image odd{1000};
    EXPECT_EQ(
        refusal({.path = odd.path()}),
        "the disk " + odd.path() +
            " has 1000 bytes, which is no whole number of sectors of 512; `truncate -s %512 " +
            odd.path() + "` fills the last one");
    EXPECT_EQ(refusal({.path = good.path(), .serial = std::string(20, 's')}), "accepted");
    EXPECT_THAT(refusal({.path = good.path(), .serial = std::string(21, 's')}),
                EndsWith("is longer than 20 bytes"));
}

TEST(disk, has_one_writer_or_many_readers)
{
    const image file{8 * sector};
    {
        const auto writer = disk::open({.path = file.path()});
        ASSERT_TRUE(writer.has_value());
        EXPECT_EQ(refusal({.path = file.path()}),
                  "the disk " + file.path() + " is in use by another process");
        EXPECT_EQ(refusal({.path = file.path(), .read_only = true}),
                  "the disk " + file.path() + " is being written by another process");
    }
    const auto reader = disk::open({.path = file.path(), .read_only = true});
    ASSERT_TRUE(reader.has_value());
    EXPECT_EQ(refusal({.path = file.path(), .read_only = true}), "accepted");
    EXPECT_EQ(refusal({.path = file.path()}),
              "the disk " + file.path() + " is in use by another process");
}

// A guest with a disk of 1 MiB of noise.
class guest_of_disk {
public:
    static constexpr std::uint64_t disk_size = std::uint64_t{1} << 20;

    explicit guest_of_disk(const ring_options& ring, bool read_only = false,
                           std::uint64_t features = flush_feature)
        : m{ring}
    {
        std::mt19937_64 random{3};
        expected = vhost::test::random_bytes(random, disk_size);
        file.write(0, expected);
        opened.emplace(
            disk::open({.path = file.path(), .read_only = read_only, .serial = "serial"}).value());
        d.emplace(*opened, m.ram.memory(), "disk");
        m.start(*d, features);
    }

    struct answer {
        std::uint8_t status;
        bytes data;
        std::uint32_t written;
    };
    // One request, in pieces of at most `piece` bytes, the first and the last of which hold header
    // and status with data beside them. `sent` follows the header, `wanted` bytes come back.
    answer ask(std::uint32_t type, std::uint64_t first, const bytes& sent = {},
               std::size_t wanted = 0, std::size_t piece = 1 << 20, bool in_table = false)
    {
        bytes request(16);
        std::memcpy(request.data(), &type, sizeof type);
        std::memcpy(request.data() + 8, &first, sizeof first);
        request.insert(request.end(), sent.begin(), sent.end());
        const std::uint64_t to = m.ram.allocate(request.size());
        const std::uint64_t from = m.ram.allocate(wanted + 1);
        m.ram.write(to, request);
        m.ram.write(from, bytes(wanted + 1, std::byte{0xee}));
        std::vector<buffer> list;
        const auto cut = [&](std::uint64_t place, std::size_t size, bool writable) {
            for (std::size_t at = 0; at < size; at += piece) {
                list.push_back(
                    {place + at, static_cast<std::uint32_t>(std::min(piece, size - at)), writable});
            }
        };
        cut(to, request.size(), false);
        cut(from, wanted + 1, true);
        EXPECT_TRUE(m.guest->add(list, ++token, in_table));
        m.guest->publish();
        answer a{0xff, {}, 0};
        for (const returned& r : m.collect(1)) {
            EXPECT_EQ(r.token, token);
            a.data = m.ram.read(from, wanted);
            a.status = std::to_integer<std::uint8_t>(m.ram.read(from + wanted, 1)[0]);
            a.written = r.length;
        }
        m.ram.free(to);
        m.ram.free(from);
        return a;
    }
    std::uint8_t status(std::uint32_t type, std::uint64_t first, const bytes& sent = {},
                        std::size_t wanted = 0)
    {
        return ask(type, first, sent, wanted).status;
    }
    // A range to discard or to clear.
    [[nodiscard]] static bytes range(std::uint64_t first, std::uint32_t sectors,
                                     std::uint32_t flags = 0)
    {
        bytes all(16);
        std::memcpy(all.data(), &first, sizeof first);
        std::memcpy(all.data() + 8, &sectors, sizeof sectors);
        std::memcpy(all.data() + 12, &flags, sizeof flags);
        return all;
    }
    // A chain as it is, which breaks the device.
    void expect_broken(std::initializer_list<buffer> list, const std::string& why)
    {
        ASSERT_TRUE(m.guest->add(list, ++token));
        m.guest->publish();
        EXPECT_EQ(m.transport.wait_for_fault(), why);
        EXPECT_TRUE(m.guest->collect().empty());
        EXPECT_EQ(file.content(), expected);
    }

    image file{disk_size};
    bytes expected;
    guest_machine m;
    std::optional<disk> opened;
    std::optional<block> d;
    std::size_t token{0};
};

class block_of : public testing::TestWithParam<bool> {
protected:
    block_of()
    {
        sync_error = 0;
        no_mode = 0;
    }
    [[nodiscard]] static ring_options ring()
    {
        return {.packed = GetParam(),
                .size = block::queue_size,
                .features = feature_bits({feature::version_1})};
    }
    std::mt19937_64 random{11};
};

INSTANTIATE_TEST_SUITE_P(kinds, block_of, testing::Bool(), vhost::test::kind_name);

constexpr std::uint64_t disk_sectors = guest_of_disk::disk_size / sector;
constexpr std::uint8_t ok = 0;
constexpr std::uint8_t io_error = 1;
constexpr std::uint8_t unsupported = 2;

struct configuration {
    template <typename T>
    [[nodiscard]] T at(std::size_t offset) const
    {
        T value;
        std::memcpy(&value, all.data() + offset, sizeof value);
        return value;
    }
    explicit configuration(block& d) : all(d.config_size()) { d.read_config(0, all); }
    bytes all;
};

TEST_P(block_of, says_what_it_is)
{
    guest_of_disk g{ring()};
    EXPECT_EQ(g.d->type(), 2);
    EXPECT_EQ(g.d->queues(), 1);
    EXPECT_EQ(g.d->max_queue_size(0), 256);
    const std::uint64_t bounds = queue_features | feature_bits({1, 2, 6});
    EXPECT_EQ(g.d->features(), bounds | feature_bits({9, 13, 14}));
    const configuration c{*g.d};
    EXPECT_EQ(c.all.size(), 60U);
    EXPECT_EQ(c.at<std::uint64_t>(0), disk_sectors);
    EXPECT_EQ(c.at<std::uint32_t>(8), 256 * 1024U);
    EXPECT_EQ(c.at<std::uint32_t>(12), 254U);
    EXPECT_LE(std::uint64_t{254} * 256 * 1024, disk::request_bytes);
    EXPECT_EQ(c.at<std::uint32_t>(20), 512U);
    EXPECT_EQ(c.at<std::uint32_t>(36), disk::request_bytes / 512) << "discard: sectors,";
    EXPECT_EQ(c.at<std::uint32_t>(40), 1U) << "segments";
    EXPECT_EQ(c.at<std::uint32_t>(48), disk::request_bytes / 512) << "write zeroes: sectors,";
    EXPECT_EQ(c.at<std::uint32_t>(52), 1U) << "segments,";
    EXPECT_EQ(c.at<std::uint8_t>(56), 1U) << "may unmap";
    bytes part(4);
    g.d->read_config(20, part);
    EXPECT_EQ(part, bytes(c.all.begin() + 20, c.all.begin() + 24));

    guest_of_disk r{ring(), true, 0};
    EXPECT_EQ(r.d->features(), bounds | feature_bits({5}));
    const configuration rc{*r.d};
    EXPECT_EQ(rc.at<std::uint32_t>(36), 0U);
    EXPECT_EQ(rc.at<std::uint32_t>(48), 0U);

    no_mode = FALLOC_FL_PUNCH_HOLE; // a file system that cannot
    guest_of_disk n{ring()};
    EXPECT_EQ(n.d->features(), bounds | feature_bits({9, 14}));
    const configuration nc{*n.d};
    EXPECT_EQ(nc.at<std::uint32_t>(36), 0U);
    EXPECT_EQ(nc.at<std::uint32_t>(48), disk::request_bytes / 512);
    EXPECT_EQ(nc.at<std::uint8_t>(56), 0U);
    EXPECT_EQ(n.status(discard, 0, guest_of_disk::range(0, 8)), unsupported);
    EXPECT_EQ(n.file.content(), n.expected);
}

TEST_P(block_of, reads_and_writes_in_every_shape)
{
    guest_of_disk g{ring()};
    for (int i = 0; i < 400; ++i) {
        const std::size_t count = vhost::test::pick(random, 0, 30);
        const std::uint64_t first = vhost::test::pick(random, 0, disk_sectors - count);
        const bool in_table = i % 3 == 0;
        const std::size_t size = count * sector;
        const std::size_t least = (size + 17) / 200 + 1; // of the ring's descriptors
        const std::size_t piece = vhost::test::pick(random, least, i % 2 == 0 ? 5000 : least + 20);
        const std::span<std::byte> there = std::span{g.expected}.subspan(first * sector, size);
        if (i % 2 == 0) {
            const auto a = g.ask(in, first, {}, size, piece, in_table);
            ASSERT_EQ(a.status, ok);
            ASSERT_EQ(a.written, size + 1);
            ASSERT_EQ(a.data, bytes(there.begin(), there.end()));
        } else {
            const bytes data = vhost::test::random_bytes(random, size);
            const auto a = g.ask(out, first, data, 0, piece, in_table);
            ASSERT_EQ(a.status, ok);
            ASSERT_EQ(a.written, 1U);
            std::ranges::copy(data, there.begin());
        }
    }
    EXPECT_EQ(g.file.content(), g.expected);
    EXPECT_TRUE(g.m.transport.faults().empty());
}

TEST_P(block_of, answers_many_requests_at_once)
{
    guest_of_disk g{ring()};
    const std::uint64_t place = g.m.ram.allocate(64 * 2048);
    for (std::uint64_t i = 0; i < 64; ++i) {
        const std::uint64_t at = place + i * 2048;
        g.m.ram.write(at, bytes(16));
        g.m.ram.as<std::uint64_t>(at + 8) = i * 3;
        ASSERT_TRUE(g.m.guest->add({{at, 16}, {at + 16, 513, true}}, i));
    }
    g.m.guest->publish();
    const std::vector<returned> all = g.m.collect(64);
    for (std::uint64_t i = 0; i < 64; ++i) {
        EXPECT_EQ(all.at(i), (returned{i, 513})) << "in order";
        const auto from = g.expected.begin() + static_cast<std::ptrdiff_t>(i * 3 * sector);
        EXPECT_EQ(g.m.ram.read(place + i * 2048 + 16, 512), bytes(from, from + sector));
    }
    guest_machine::stop(*g.d);
    g.m.start(*g.d); // a driver that goes on where the last one was: its ring is a new one
}

TEST_P(block_of, flushes)
{
    guest_of_disk g{ring()};
    syncs = 0;
    EXPECT_EQ(g.status(out, 0, bytes(sector, std::byte{1})), ok);
    EXPECT_EQ(syncs, 0U);
    EXPECT_EQ(g.status(flush, 0), ok);
    EXPECT_EQ(syncs, 1U);
}

TEST_P(block_of, writes_through_for_who_does_not_flush)
{
    guest_of_disk g{ring(), false, 0};
    syncs = 0;
    EXPECT_EQ(g.status(out, 0, bytes(sector, std::byte{1})), ok);
    EXPECT_EQ(syncs, 1U);
    EXPECT_EQ(g.status(zero, 0, guest_of_disk::range(0, 8)), ok);
    EXPECT_EQ(syncs, 2U);
    EXPECT_EQ(g.status(discard, 0, guest_of_disk::range(0, 8)), ok);
    EXPECT_EQ(syncs, 3U);
    EXPECT_EQ(g.status(in, 0, {}, sector), ok);
    EXPECT_EQ(g.status(out, disk_sectors, bytes(sector)), io_error);
    EXPECT_EQ(syncs, 3U);
    sync_error = EIO;
    EXPECT_EQ(g.status(out, 0, bytes(sector, std::byte{2})), io_error);
}

TEST_P(block_of, what_is_lost_once_stays_lost)
{
    guest_of_disk g{ring()};
    sync_error = EIO;
    testing::internal::CaptureStderr();
    EXPECT_EQ(g.status(flush, 0), io_error);
    sync_error = 0; // the kernel tells it only once
    EXPECT_EQ(g.status(flush, 0), io_error);
    EXPECT_EQ(g.status(in, 0, {}, sector), ok);
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                EndsWith(" error disk: " + g.file.path() +
                         ": what was written is lost: Input/output error\n"));
}

TEST_P(block_of, tells_its_serial_number)
{
    guest_of_disk g{ring()};
    const auto a = g.ask(get_id, 0, {}, 20, 7);
    EXPECT_EQ(a.status, ok);
    bytes serial(20);
    std::memcpy(serial.data(), "serial", 6);
    EXPECT_EQ(a.data, serial);
    EXPECT_EQ(g.status(get_id, 0, {}, 19), io_error);
    EXPECT_EQ(g.ask(get_id, 0, {}, 30).data[20], std::byte{0xee});
}

TEST_P(block_of, discards)
{
    guest_of_disk g{ring()};
    const std::uint64_t before = g.file.allocated();
    EXPECT_EQ(g.status(discard, 0, guest_of_disk::range(64, 512)), ok);
    EXPECT_EQ(last_mode, hole);
    EXPECT_EQ(g.file.allocated(), before - 512 * std::uint64_t{sector});
    std::fill_n(g.expected.begin() + 64 * sector, 512 * sector, std::byte{0});
    EXPECT_EQ(g.file.content(), g.expected);
    EXPECT_EQ(g.status(discard, 0, guest_of_disk::range(disk_sectors, 0)), ok) << "nothing";
}

TEST_P(block_of, writes_zeroes)
{
    guest_of_disk g{ring()};
    const std::uint64_t before = g.file.allocated();
    const auto clear = [&](std::uint32_t first, std::uint32_t count, std::uint32_t flags) {
        EXPECT_EQ(g.status(zero, 0, guest_of_disk::range(first, count, flags)), ok);
        std::fill_n(g.expected.begin() + first * sector, count * sector, std::byte{0});
        EXPECT_EQ(g.file.content(), g.expected);
    };
    clear(8, 16, 0);
    EXPECT_EQ(last_mode, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
    EXPECT_EQ(g.file.allocated(), before) << "nothing is given back unasked";
    clear(64, 16, 1);
    EXPECT_EQ(last_mode, hole);
    EXPECT_EQ(g.file.allocated(), before - 16 * sector);
    clear(3, 1, 1);
    no_mode = FALLOC_FL_ZERO_RANGE; // a file system that cannot
    clear(101, 700, 0);
    no_mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE;
    clear(1000, 100, 1);
    EXPECT_EQ(g.status(zero, 0, guest_of_disk::range(0, 0)), ok) << "nothing";
    EXPECT_EQ(g.file.content(), g.expected);
}

TEST_P(block_of, refuses_sectors_that_it_has_not)
{
    guest_of_disk g{ring()};
    constexpr std::uint64_t top = ~std::uint64_t{0};
    for (const std::uint64_t first :
         {disk_sectors - 1, disk_sectors, disk_sectors + 1, top, top - 1, top / sector,
          (top / sector) + 1, std::uint64_t{1} << 63, std::uint64_t{1} << 55}) {
        EXPECT_EQ(g.status(in, first, {}, 2 * sector), io_error) << first;
        EXPECT_EQ(g.status(out, first, bytes(2 * sector)), io_error) << first;
        EXPECT_EQ(g.status(discard, 0, guest_of_disk::range(first, 2)), io_error) << first;
        EXPECT_EQ(g.status(zero, 0, guest_of_disk::range(first, 2)), io_error) << first;
    }
    for (const std::uint32_t count : {~0U, 1U << 23, (1U << 23) + 8, 1U << 31}) {
        EXPECT_EQ(g.status(discard, 0, guest_of_disk::range(0, count)), io_error) << count;
        EXPECT_EQ(g.status(zero, 0, guest_of_disk::range(0, count)), io_error) << count;
    }
    EXPECT_EQ(g.status(zero, 0, guest_of_disk::range(1, disk_sectors)), io_error);
    EXPECT_EQ(g.status(in, disk_sectors - 1, {}, sector), ok) << "the last one";
    EXPECT_EQ(g.status(in, disk_sectors, {}, 0), ok) << "none";
    EXPECT_EQ(g.file.content(), g.expected);
    EXPECT_EQ(std::filesystem::file_size(g.file.path()), guest_of_disk::disk_size);
}

TEST_P(block_of, refuses_parts_of_sectors)
{
    guest_of_disk g{ring()};
    for (const std::size_t size : {1U, 511U, 513U, 1023U}) {
        EXPECT_EQ(g.status(in, 0, {}, size), io_error) << size;
        EXPECT_EQ(g.status(out, 0, bytes(size)), io_error) << size;
    }
    EXPECT_EQ(g.file.content(), g.expected);
}

TEST_P(block_of, refuses_more_than_a_request_may_move)
{
    const image file{std::uint64_t{1} << 30};
    constexpr std::size_t ram = std::size_t{80} << 20;
    guest_machine m{ring(), ram};
    disk opened = disk::open({.path = file.path()}).value();
    block d{opened, m.ram.memory(), "disk"};
    m.start(d, flush_feature);
    const std::uint64_t place = m.ram.allocate(16);
    const std::uint64_t status = m.ram.allocate(1);
    const std::uint64_t data = m.ram.allocate(disk::request_bytes + sector, 4096);
    for (const std::uint32_t size : {std::uint32_t{disk::request_bytes},
                                     static_cast<std::uint32_t>(disk::request_bytes + sector)}) {
        m.ram.write(place, bytes(16));
        ASSERT_TRUE(m.guest->add({{place, 16}, {data, size, true}, {status, 1, true}}, size));
        m.guest->publish();
        m.collect(1);
        EXPECT_EQ(m.ram.read(status, 1)[0], std::byte{size == disk::request_bytes ? ok : io_error});
    }
}

TEST_P(block_of, refuses_to_write_what_is_read_only)
{
    guest_of_disk g{ring(), true, 0};
    testing::internal::CaptureStderr();
    EXPECT_EQ(g.status(in, 0, {}, sector), ok);
    EXPECT_EQ(g.status(out, 0, bytes(sector)), io_error);
    EXPECT_EQ(g.status(discard, 0, guest_of_disk::range(0, 8)), unsupported);
    EXPECT_EQ(g.status(zero, 0, guest_of_disk::range(0, 8)), unsupported);
    EXPECT_EQ(g.status(flush, 0), ok);
    EXPECT_EQ(g.file.content(), g.expected);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "the file was not asked";
}

TEST_P(block_of, refuses_what_it_does_not_know)
{
    guest_of_disk g{ring()};
    for (const std::uint32_t type : {2U, 3U, 5U, 7U, 9U, 10U, 12U, 14U, 0x8000'0000U, ~0U}) {
        EXPECT_EQ(g.status(type, 0, {}, sector), unsupported) << type;
    }
    for (const std::uint32_t flags : {2U, 0x8000'0000U, 3U, ~0U}) {
        EXPECT_EQ(g.status(discard, 0, guest_of_disk::range(0, 8, flags)), unsupported) << flags;
        EXPECT_EQ(g.status(zero, 0, guest_of_disk::range(0, 8, flags)), unsupported) << flags;
    }
    EXPECT_EQ(g.status(discard, 0, guest_of_disk::range(0, 8, 1)), unsupported);
    for (const std::size_t size : {0U, 15U, 17U, 32U}) { // one range, no less and no more
        EXPECT_EQ(g.status(discard, 0, bytes(size)), io_error) << size;
        EXPECT_EQ(g.status(zero, 0, bytes(size)), io_error) << size;
    }
    EXPECT_EQ(g.file.content(), g.expected);
}

TEST_P(block_of, is_broken_by_a_request_without_a_header)
{
    for (const std::uint32_t size : {0U, 1U, 15U}) {
        guest_of_disk g{ring()};
        const std::uint64_t place = g.m.ram.allocate(1024);
        g.expect_broken({{place, size}, {place + 16, 513, true}},
                        "a block request is shorter than its header");
    }
}

TEST_P(block_of, is_broken_by_a_request_without_room_for_its_status)
{
    for (const std::uint32_t type : {in, out, flush}) {
        guest_of_disk g{ring()};
        const std::uint64_t place = g.m.ram.allocate(1024);
        g.m.ram.write(place, bytes(1024));
        g.m.ram.as<std::uint32_t>(place) = type;
        g.expect_broken({{place, 528}}, "a block request has no room for its status");
    }
}

TEST_P(block_of, is_broken_by_a_broken_ring)
{
    guest_of_disk g{ring()};
    g.expect_broken({{0, 16}, {0, 513, true}}, vhost::fault_text::address);
}

TEST_P(block_of, writes_nothing_beside_what_it_is_given)
{
    guest_of_disk g{ring()};
    const std::uint64_t place = g.m.ram.allocate(64 * 1024, 4096);
    g.m.ram.write(place, bytes(16));
    ASSERT_TRUE(
        g.m.guest->add({{place, 16}, {place + 4000, 1024, true}, {place + 100, 1, true}}, 1));
    const bytes before = g.m.ram.image();
    g.m.guest->publish();
    g.m.collect(1);
    std::vector<guest_range> allowed{{place + 4000, 1024}, {place + 100, 1}};
    for (const guest_range& r : g.m.guest->places()) {
        allowed.push_back(r);
    }
#ifndef STRAIT_MUTATE_GUEST
    EXPECT_EQ(g.m.ram.changed_outside(before, allowed), std::nullopt);
#endif
}

TEST_P(block_of, a_file_that_fails_is_an_error_of_the_request)
{
    guest_of_disk g{ring()};
    std::filesystem::resize_file(g.file.path(), sector);
    testing::internal::CaptureStderr();
    EXPECT_EQ(g.status(in, 0, {}, sector), ok);
    EXPECT_EQ(g.status(in, 0, {}, 2 * sector), io_error);
    no_mode = ~0;
    const std::string path = g.file.path();
    EXPECT_EQ(g.status(discard, 0, guest_of_disk::range(0, 1)), io_error);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_THAT(said, HasSubstr(" error disk: " + path +
                                ": a read failed: the file is shorter than it was\n"));
    EXPECT_THAT(said,
                EndsWith(" error disk: " + path + ": a discard failed: Operation not supported\n"));
}

TEST_P(block_of, a_file_that_cannot_be_written_is_an_error_of_the_request)
{
    const int sealed = ::memfd_create("disk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ASSERT_EQ(::ftruncate(sealed, guest_of_disk::disk_size), 0);
    guest_machine m{ring()};
    const std::string path = "/proc/self/fd/" + std::to_string(sealed);
    disk opened = disk::open({.path = path}).value();
    block d{opened, m.ram.memory(), "disk"};
    ASSERT_EQ(::fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
    m.start(d, flush_feature);
    const std::uint64_t place = m.ram.allocate(1024);
    m.ram.write(place, bytes(1024));
    testing::internal::CaptureStderr();
    for (const std::uint32_t type : {out, zero}) {
        m.ram.write(place, bytes(32));
        m.ram.as<std::uint32_t>(place) = type;
        m.ram.as<std::uint32_t>(place + 24) = 1;
        ASSERT_TRUE(
            m.guest->add({{place, type == out ? 16 + sector : 32}, {place + 600, 1, true}}, type));
        m.guest->publish();
        m.collect(1);
        EXPECT_EQ(m.ram.read(place + 600, 1)[0], std::byte{io_error});
    }
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_THAT(said,
                HasSubstr(" error disk: " + path + ": a write failed: Operation not permitted\n"));
    EXPECT_THAT(said, EndsWith(" error disk: " + path +
                               ": zeroes were not written: Operation not permitted\n"));
    ::close(sealed);
}

} // namespace
} // namespace strait::vmm::virtio::test
