// SPDX-License-Identifier: BSD-3-Clause
// What the ring engine writes to a guest is marked in the log that its front end gave: every page
// whose bytes changed, and none that no ring or buffer lies in; and who reads the log beside it, as
// a VMM that copies a running guest does, ends with the guest's memory.
#include "test_guest.hh"

#include "ports/vhost/dirty_log.hh"
#include "tests/soak.hh"

#include <gmock/gmock.h>

#include <atomic>
#include <cstdio>
#include <set>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace strait::vhost::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t page = std::uint64_t{1} << dirty_log::page_bits;

// The front end's side of a log.
class bitmap {
public:
    explicit bitmap(std::size_t size) : size_{size}, fd_{::memfd_create("log", MFD_CLOEXEC)}
    {
        void* const at = ::ftruncate(fd_, static_cast<off_t>(size)) == 0
                             ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0)
                             : MAP_FAILED;
        if (at == MAP_FAILED) {
            throw std::runtime_error{"no memory for a log"};
        }
        bits_ = static_cast<std::uint8_t*>(at);
    }
    bitmap(const bitmap&) = delete;
    bitmap& operator=(const bitmap&) = delete;
    ~bitmap()
    {
        ::munmap(bits_, size_);
        ::close(fd_);
    }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    // Guest addresses of the pages marked since the last call.
    std::set<std::uint64_t> take() const
    {
        std::set<std::uint64_t> pages;
        for (std::size_t i = 0; i < size_; ++i) {
            const std::uint8_t bits =
                __atomic_exchange_n(bits_ + i, std::uint8_t{0}, __ATOMIC_SEQ_CST);
            for (unsigned bit = 0; bit < 8; ++bit) {
                if ((bits >> bit & 1) != 0) {
                    pages.insert((i * 8 + bit) * page);
                }
            }
        }
        return pages;
    }

private:
    std::size_t size_;
    int fd_;
    std::uint8_t* bits_;
};

constexpr std::size_t log_size = 4096; // for 128 MiB

const unsigned laps = strait::test::short_or_soak(10U, 30U);

std::unique_ptr<dirty_log> map_log(const bitmap& b, std::uint64_t size = log_size)
{
    return dirty_log::map(b.fd(), size, 0).value();
}

std::set<std::uint64_t> pages_of(std::span<const guest_range> ranges)
{
    std::set<std::uint64_t> pages;
    for (const guest_range& r : ranges) {
        for (std::uint64_t at = r.address / page * page; at < r.address + r.size; at += page) {
            pages.insert(at);
        }
    }
    return pages;
}

// ---- the map itself ----

TEST(dirty_log, marks_each_page_of_a_range)
{
    const bitmap b{log_size};
    const auto log = map_log(b);
    using set = std::set<std::uint64_t>;
    log->mark(0, 1);
    EXPECT_EQ(b.take(), set{0});
    log->mark(page - 1, 2);
    EXPECT_EQ(b.take(), (set{0, page}));
    log->mark(5 * page, 0);
    EXPECT_EQ(b.take(), set{});
    log->mark(7 * page + 1, 2 * page);
    EXPECT_EQ(b.take(), (set{7 * page, 8 * page, 9 * page}));
    log->mark(3 * page, 40 * page);
    EXPECT_EQ(b.take(), pages_of(std::array{guest_range{3 * page, 40 * page}}));
    log->mark(6 * page, 1);
    log->mark(4 * page, 1);
    EXPECT_EQ(b.take(), (set{4 * page, 6 * page})) << "what was set beside it stays";
}

// The file has room behind the log, and what lies there is another's.
TEST(dirty_log, leaves_alone_what_is_beyond_its_end)
{
    const bitmap b{log_size};
    const auto log = map_log(b, 3);
    EXPECT_EQ(log->end(), 24 * page);
    EXPECT_TRUE(log->covers(23 * page, page));
    EXPECT_FALSE(log->covers(23 * page, page + 1));
    EXPECT_FALSE(log->covers(~std::uint64_t{0}, 2));
    log->mark(24 * page, 8 * page);
    log->mark(~std::uint64_t{0}, 1);
    log->mark(~std::uint64_t{0}, ~std::uint64_t{0});
    log->mark(std::uint64_t{1} << 63, std::uint64_t{1} << 63);
    EXPECT_TRUE(b.take().empty());
    log->mark(23 * page, ~std::uint64_t{0});
    EXPECT_EQ(b.take(), std::set{23 * page});
}

TEST(dirty_log, begins_where_it_is_said_to)
{
    const bitmap b{log_size};
    ASSERT_EQ(::ftruncate(b.fd(), 2 * log_size), 0);
    const auto log = dirty_log::map(b.fd(), log_size, log_size).value();
    log->mark(0, log->end());
    EXPECT_TRUE(b.take().empty());
    std::array<unsigned char, 1> first{};
    ASSERT_EQ(::pread(b.fd(), first.data(), 1, log_size), 1);
    EXPECT_EQ(first[0], 0xff);
}

TEST(dirty_log, is_refused_with_a_reason)
{
    const bitmap b{log_size};
    const auto why = [](int fd, std::uint64_t size, std::uint64_t offset) {
        const auto log = dirty_log::map(fd, size, offset);
        return log.has_error() ? log.error().message : "taken";
    };
    EXPECT_EQ(why(b.fd(), log_size, 0), "taken");
    EXPECT_EQ(why(b.fd(), log_size + 1, 0),
              "the dirty log needs 4097 bytes of a file that has 4096");
    EXPECT_THAT(why(b.fd(), 1, log_size), HasSubstr("needs 4097 bytes"));
    EXPECT_THAT(why(b.fd(), 0, 0), HasSubstr("cannot be"));
    EXPECT_THAT(why(b.fd(), ~std::uint64_t{0}, 0), HasSubstr("cannot be"));
    EXPECT_THAT(why(b.fd(), std::uint64_t{1} << 50, 0), HasSubstr("cannot be"));
    EXPECT_THAT(why(b.fd(), 4096, ~std::uint64_t{0} - 4095), HasSubstr("cannot be"));
    EXPECT_THAT(why(b.fd(), 1, 12), HasSubstr("no multiple of 4096"));
    EXPECT_THAT(why(-1, 1, 0), HasSubstr("neither a memfd"));
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    EXPECT_THAT(why(null, 1, 0), HasSubstr("neither a memfd"));
    ::close(null);
    const int sealed = ::memfd_create("log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ASSERT_EQ(::ftruncate(sealed, log_size), 0);
    ASSERT_EQ(::fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
    EXPECT_THAT(why(sealed, log_size, 0), HasSubstr("cannot be mapped"));
    ::close(sealed);
}

TEST(dirty_log, survives_its_file_being_cut_off)
{
    dataplane::guest_range_registration::install_handler();
    const bitmap b{log_size};
    const auto log = map_log(b);
    EXPECT_FALSE(log->lost());
    ASSERT_EQ(::ftruncate(b.fd(), 0), 0);
    log->mark(0, page);
    log->mark(log->end() - page, page);
    EXPECT_TRUE(log->lost());
}

// ---- rings ----

// Random chains and packets; the pages that changed are those that are marked.
class logged_ring : public testing::TestWithParam<bool> {
protected:
    // Rings of many shapes: of one page and of many, from anywhere on, with event indices or
    // without, mergeable or not.
    ring_options options()
    {
        ring_options o{.packed = GetParam()};
        o.size = std::array<std::uint16_t, 3>{16, 256, 4096}[random_() % 3];
        o.start.next = static_cast<std::uint16_t>(random_() % (o.packed ? o.size : 0x1'0000U));
        o.start.wrap = !o.packed || random_() % 2 == 0;
        o.features = feature_bits({feature::version_1, feature::indirect});
        for (const unsigned bit : {feature::mergeable_buffers, feature::event_index}) {
            o.features |= random_() % 2 == 0 ? std::uint64_t{1} << bit : 0;
        }
        o.shuffle = &random_;
        return o;
    }
    static ring_setup logged(const driver& d, const guest_ram& ram, const dirty_log& log)
    {
        ring_setup setup = d.setup();
        setup.log = {.pages = &log,
                     .memory = &ram.memory(),
                     .descriptors = d.places()[0].address,
                     .device_area = d.places()[2].address};
        return setup;
    }
    // What changed in `ram` since `before` is marked, and what is marked may have changed.
    void expect_marked(const guest_ram& ram, const bytes& before,
                       std::span<const guest_range> writable)
    {
        const auto marked = bitmap_.take();
        const bytes now = ram.image();
        std::size_t at = 0;
        for (const guest_range& r : ram.regions()) {
            for (std::uint64_t offset = 0; offset < r.size; offset += page, at += page) {
                if (std::memcmp(now.data() + at, before.data() + at, page) != 0) {
                    ASSERT_TRUE(marked.contains(r.address + offset))
                        << "page 0x" << std::hex << r.address + offset << " was written";
                }
            }
        }
        const auto allowed = pages_of(writable);
        for (const std::uint64_t address : marked) {
            ASSERT_TRUE(allowed.contains(address)) << "page 0x" << std::hex << address;
        }
        seen_ += marked.size();
    }

    std::mt19937_64 random_{20};
    bitmap bitmap_{log_size};
    std::unique_ptr<dirty_log> log_{map_log(bitmap_)};
    std::size_t seen_{0};
};

TEST_P(logged_ring, of_a_receiver_has_every_page_written_marked)
{
    for (unsigned lap = 0; lap < laps; ++lap) {
        receiver r{options(), std::size_t{2} << 20};
        const bytes untouched = r.ram.image();
        r.engine = make_sink(logged(*r.guest, r.ram, *log_)); // it declines kicks
        expect_marked(r.ram, untouched, r.guest->device_writes());
        std::size_t token = 0;
        for (int round = 0; round < 8; ++round) {
            for (std::size_t n = pick(random_, 1, 40); n > 0; --n) {
                std::vector<std::size_t> lengths(pick(random_, 1, 4));
                for (std::size_t& length : lengths) {
                    length = pick(random_, 1, 3) == 1 ? pick(random_, 4096, 9000)
                                                      : pick(random_, 13, 2048);
                }
                if (!r.add(lengths, token++, random_() % 3 == 0)) {
                    break;
                }
            }
            r.guest->publish();
            std::vector<std::unique_ptr<test_packet>> packets;
            for (std::size_t n = pick(random_, 1, 32); n > 0; --n) {
                packets.push_back(
                    std::make_unique<test_packet>(random_bytes(random_, pick(random_, 60, 9000)),
                                                  dataplane::head_copy, pick(random_, 100, 4000)));
            }
            std::vector<guest_range> writable = r.guest->device_writes();
            for (const auto& [unused, list] : r.buffers) {
                for (const buffer& b : list) {
                    writable.push_back({b.address, b.length});
                }
            }
            if (random_() % 2 == 0) { // as a source does that has frames for it
                r.engine->prefetch_ring(packets.size());
                r.engine->prefetch_buffers(packets.size());
            }
            const bytes before = r.ram.image();
            r.send(packets);
            expect_marked(r.ram, before, writable);
            ASSERT_FALSE(HasFatalFailure());
            r.collect();
        }
    }
    EXPECT_GT(seen_, laps * 40U);
}

TEST_P(logged_ring, of_a_transmitter_has_every_page_written_marked)
{
    for (unsigned lap = 0; lap < laps; ++lap) {
        transmitter t{options()};
        const bytes untouched = t.ram.image();
        t.engine = make_source(logged(*t.guest, t.ram, *log_));
        expect_marked(t.ram, untouched, t.guest->device_writes());
        std::size_t token = 0;
        for (int round = 0; round < 8; ++round) {
            for (std::size_t n = pick(random_, 1, 40); n > 0; --n) {
                const std::size_t cut = pick(random_, 12, 200);
                if (!t.add(random_bytes(random_, pick(random_, 60, 3000)), {&cut, 1}, token++,
                           random_() % 3 == 0)) {
                    break;
                }
            }
            t.guest->publish();
            const bytes before = t.ram.image();
            t.worker.take(*t.engine);
            if (random_() % 4 == 0) {
                t.engine->return_all();
            }
            expect_marked(t.ram, before, t.guest->device_writes());
            const bytes awake = t.ram.image();
            (void)t.engine->ask_to_wake(false);
            expect_marked(t.ram, awake, t.guest->device_writes());
            ASSERT_FALSE(HasFatalFailure());
            t.collect();
        }
    }
    EXPECT_GT(seen_, 100U);
}

// A front end may have the used ring's writes logged elsewhere than where it lies.
TEST_P(logged_ring, marks_its_device_area_where_the_front_end_says)
{
    ring_options o{.packed = GetParam(), .size = 64};
    o.features = feature_bits({feature::version_1});
    transmitter t{o};
    ring_setup setup = logged(*t.guest, t.ram, *log_);
    constexpr std::uint64_t elsewhere = std::uint64_t{64} << 20;
    setup.log.device_area = elsewhere;
    t.engine = make_source(setup);
    ASSERT_TRUE(t.add(bytes(60), {}, 0));
    t.guest->publish();
    t.worker.take(*t.engine);
    const auto marked = bitmap_.take();
    EXPECT_TRUE(marked.contains(elsewhere));
    EXPECT_EQ(marked.contains(t.guest->places()[0].address / page * page), GetParam());
}

// As a VMM does: bits are taken and pages copied while the engine writes, and once more when it has
// stopped. What was copied is then what there is.
TEST_P(logged_ring, is_copied_whole_while_it_is_written)
{
    ring_options o{.packed = GetParam(), .size = 256};
    o.features = feature_bits({feature::version_1, feature::mergeable_buffers});
    receiver r{o, std::size_t{4} << 20};
    r.engine = make_sink(logged(*r.guest, r.ram, *log_));
    const std::uint64_t base = r.ram.regions()[0].address;
    bytes copy = r.ram.image();
    std::size_t copied = 0;
    const auto copy_marked = [&] {
        for (const std::uint64_t address : bitmap_.take()) {
            ++copied;
            std::memcpy(copy.data() + (address - base), r.ram.at(address), page);
        }
    };
    const unsigned copies = strait::test::short_or_soak(10U, 40U);
    for (unsigned lap = 0; lap < copies; ++lap) {
        for (std::size_t token = 0; token < 256; ++token) {
            ASSERT_TRUE(r.add(2048, token));
        }
        r.guest->publish();
        copy = r.ram.image(); // what the driver writes, a hypervisor marks
        std::atomic<bool> done{false};
        std::thread reader{[&] {
            while (!done) {
                copy_marked();
            }
        }};
        for (int burst = 0; burst < 8; ++burst) {
            std::vector<std::unique_ptr<test_packet>> packets;
            for (std::size_t n = 0; n < 32; ++n) {
                packets.push_back(
                    std::make_unique<test_packet>(random_bytes(random_, pick(random_, 60, 2000))));
            }
            r.send(packets);
        }
        done = true;
        reader.join();
        copy_marked();
        ASSERT_EQ(copy, r.ram.image()) << "lap " << lap;
        ASSERT_EQ(r.collect().size(), 256U);
    }
    EXPECT_GT(copied, copies * 64U);
}

INSTANTIATE_TEST_SUITE_P(rings, logged_ring, testing::Bool(), kind_name);

} // namespace
} // namespace strait::vhost::test
