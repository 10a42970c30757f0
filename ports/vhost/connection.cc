// SPDX-License-Identifier: BSD-3-Clause
// What a front end's messages do to the rings of its port.
#include "ports/vhost/connection.hh"

#include "ports/log.hh"
#include "ports/vhost/guarded_kick.hh"
#include "ports/vhost/kick.hh"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <span>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <rte_vhost.h>

namespace strait::vhost {

namespace {

constexpr std::uint64_t driver_ok = 4;
constexpr std::uint64_t status_feature = std::uint64_t{1} << VHOST_USER_PROTOCOL_F_STATUS;

// Of the data path alone, and younger than the library (22.11), which would refuse them.
constexpr std::uint64_t unknown_to_library = std::uint64_t{1} << feature::guest_uso4 |
                                             std::uint64_t{1} << feature::guest_uso6 |
                                             std::uint64_t{1} << feature::host_uso;

bool aligned(const void* at, std::uintptr_t to) noexcept
{
    return reinterpret_cast<std::uintptr_t>(at) % to == 0;
}

std::uint64_t seconds_now() noexcept
{
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec);
}

// The messages of the features that are offered. The library handles others, too, whatever was
// negotiated, and trusts what they say: in-flight buffers' sizes are the sender's, and postcopy
// would have a worker wait for pages that the sender brings or does not.
bool is_known(request r) noexcept
{
    switch (r) {
    case request::get_features:
    case request::set_features:
    case request::set_owner:
    case request::reset_owner:
    case request::set_mem_table:
    case request::set_log_base:
    case request::set_log_fd:
    case request::set_vring_num:
    case request::set_vring_addr:
    case request::set_vring_base:
    case request::get_vring_base:
    case request::set_vring_kick:
    case request::set_vring_call:
    case request::set_vring_err:
    case request::get_protocol_features:
    case request::set_protocol_features:
    case request::get_queue_num:
    case request::set_vring_enable:
    case request::send_rarp:
    case request::net_set_mtu:
    case request::set_status:
    case request::get_status:
        return true;
    default:
        return false;
    }
}

// Bytes of payload a message must have; none: the library's business.
std::optional<std::size_t> payload_size(request r) noexcept
{
    switch (r) {
    case request::set_features:
    case request::set_protocol_features:
    case request::set_vring_kick:
    case request::set_vring_call:
    case request::set_vring_err:
    case request::set_log_fd:
    case request::send_rarp:
    case request::net_set_mtu:
    case request::set_status:
        return sizeof(std::uint64_t);
    case request::set_log_base:
        return sizeof(log_area);
    case request::set_vring_num:
    case request::set_vring_base:
    case request::get_vring_base:
    case request::set_vring_enable:
        return sizeof(vring_state);
    case request::set_vring_addr:
        return sizeof(vring_address);
    default:
        return std::nullopt;
    }
}

} // namespace

bool connection::is_eventfd(int fd) noexcept
{
    char target[32]{};
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t size = ::readlink(link.c_str(), target, sizeof(target) - 1);
    return size > 0 && std::strcmp(target, "anon_inode:[eventfd]") == 0;
}

void call_guard::set(unsigned ring, file_descriptor fd) noexcept
{
    const std::scoped_lock lock{mutex_};
    (void)had_to_wait(calls_[ring].get(), false); // the number may be another's next
    calls_[ring] = std::move(fd);                 // what was there is closed with `fd`
    was_full_[ring] = false;
}

call_guard::state call_guard::look() noexcept
{
    const std::scoped_lock lock{mutex_};
    state found = state::right;
    for (std::size_t ring = 0; ring < calls_.size(); ++ring) {
        const file_descriptor& call = calls_[ring];
        if (call.get() < 0) {
            continue;
        }
        const int flags = ::fcntl(call.get(), F_GETFL);
        const bool blocking = (flags & O_NONBLOCK) == 0;
        if (blocking) {
            ::fcntl(call.get(), F_SETFL, flags | O_NONBLOCK);
        }
        // Whoever waits to write to it, for it cannot hold more, can go on. Asked of the counter,
        // not of the flag: that may have been set again behind a worker that waits already.
        pollfd counter{.fd = call.get(), .events = POLLOUT, .revents = 0};
        const bool full = blocking || ::poll(&counter, 1, 0) == 0;
        const bool waited = had_to_wait(call.get(), full);
        if (full && was_full_[ring]) {
            // For the library, which no signal finds; later, since who is sent on and finds room
            // does not say that it waited. The guest loses a signal; none that reads what it is
            // sent holds its counter there.
            forget_kicks(call.get());
        }
        was_full_[ring] = full;
        found = std::max(found, blocking || waited ? state::tampered
                                : full             ? state::full
                                                   : state::right);
    }
    return found;
}

void port_parts::lost(const std::string& reason) noexcept
{
    last_loss = reason;
    if (may_log()) {
        ports::log_warning("vhost", "port " + name + ": " + reason);
    }
}

void port_parts::note(const std::string& what) noexcept
{
    if (may_log()) {
        ports::log_notice("vhost", "port " + name + ": " + what);
    }
}

bool port_parts::may_log() noexcept
{
    constexpr unsigned lines_a_second = 6;
    if (const std::uint64_t now = seconds_now(); now != logged_at_) {
        if (logged_ > lines_a_second) {
            ports::log_warning("vhost", "port " + name + ": " +
                                            std::to_string(logged_ - lines_a_second) +
                                            " more such lines in the last seconds");
        }
        logged_at_ = now;
        logged_ = 0;
    }
    return ++logged_ <= lines_a_second;
}

connection::connection(int vid, port_parts& port, file_descriptor socket)
    : vid_{vid}, port_{port}, socket_{std::move(socket)}, rings_(port.rings())
{}

connection::~connection()
{
    take_back();
}

// ---- messages ----

verdict connection::refuse(message& m, const std::string& why)
{
    m.close_descriptors();
    port_.lost("the front end's message " +
               std::to_string(static_cast<std::uint32_t>(m.request())) + " was refused: " + why);
    return verdict::error;
}

verdict connection::before(message m)
{
    const request r = m.request();
    if (!is_known(r)) {
        return refuse(m, "it belongs to a feature that was not offered");
    }
    if (const auto size = payload_size(r); size && m.size() != *size) {
        return refuse(m, "its payload has " + std::to_string(m.size()) + " bytes instead of " +
                             std::to_string(*size));
    }

    // The rings that are not what they were behind it, for they, the memory or the features are
    // another.
    const ring_set all = ring_set{}.set();
    ring_set changes;
    std::uint64_t index = 0;
    bool one_ring = false; // that one
    switch (r) {
    case request::get_queue_num:
        m.answer(port_.pairs);
        return verdict::reply;
    case request::set_mem_table:
        if (const auto wrong = check_memory(m)) {
            take_back();
            memory_.reset();
            return refuse(m, *wrong);
        }
        changes = all;
        break;
    case request::get_features:
        m.answer(port_.offered);
        return verdict::reply;
    case request::set_features: {
        const auto agreed = m.payload<std::uint64_t>();
        // QEMU says them for each pair anew. A driver without several pairs loses rings by it.
        if (agreed != features_ || !has_feature(features_, feature::multiqueue)) {
            changes = all;
        }
        beside_library_ = agreed & port_.offered & unknown_to_library;
        m.replace(agreed & ~beside_library_); // it refuses what was not offered
        break;
    }
    case request::set_protocol_features:
        changes = all;
        break;
    case request::reset_owner:
        // Deprecated, and best ignored, as the protocol's text says; the library would forget what
        // it has allocated for the rings.
        m.close_descriptors();
        return verdict::done;
    case request::set_log_base:
        return take_log(m);
    case request::set_log_fd:
        return take_log_event(m);
    case request::send_rarp:
        return announce(m);
    case request::set_status:
        driver_ok_ = (m.payload<std::uint64_t>() & driver_ok) != 0;
        changes = driver_ok_ ? ring_set{} : all;
        break;
    case request::set_vring_num:
    case request::set_vring_base:
    case request::get_vring_base:
    case request::set_vring_enable:
    case request::set_vring_addr:
        index = m.payload<std::uint32_t>();
        one_ring = true;
        break;
    case request::set_vring_kick:
    case request::set_vring_call:
    case request::set_vring_err:
        index = m.payload<std::uint64_t>() & ring_index_mask;
        for (std::size_t i = 0; i < m.descriptor_count(); ++i) {
            if (!is_eventfd(m.descriptor(i))) {
                return refuse(m, "what it passed is no eventfd");
            }
        }
        one_ring = r != request::set_vring_err;
        break;
    default:
        return verdict::not_handled;
    }
    if (index >= rings_.size()) {
        return refuse(m, "there is no ring " + std::to_string(index) + "; the port has " +
                             (port_.pairs == 1
                                  ? "one queue pair, rings 0 and 1"
                                  : std::to_string(port_.pairs) + " queue pairs, rings 0 to " +
                                        std::to_string(rings_.size() - 1)));
    }
    changes.set(index, changes[index] || one_ring);

    message_open_ = true;
    take_back(changes, tell::driver);
    switch (r) {
    case request::set_mem_table:
        memory_.reset();
        break;
    case request::set_vring_addr: {
        const auto address = m.payload<vring_address>();
        rings_[index].log_address.reset();
        if ((address.flags & ring_flag_log) != 0) {
            rings_[index].log_address = address.log;
        }
        break;
    }
    case request::set_vring_base:
        rings_[index].stood.reset();
        break;
    case request::set_vring_enable:
        // The library says so only after after().
        if (m.payload<std::uint32_t>(sizeof(std::uint32_t)) == 0) {
            rings_[index].ready = false;
        }
        break;
    case request::get_vring_base:
        give_back(static_cast<unsigned>(index));
        // From here on the front end knows the position, and may start a new ring at another.
        if (ring_position* const saved = port_.positions.ring(index)) {
            saved->forget();
        }
        break;
    case request::net_set_mtu:
    default:
        break;
    }
    return verdict::not_handled;
}

void connection::after(message m)
{
    switch (m.request()) {
    case request::set_mem_table:
        read_memory();
        break;
    case request::set_features:
        read_features();
        break;
    case request::set_protocol_features: {
        std::uint64_t negotiated = 0;
        rte_vhost_get_negotiated_protocol_features(vid_, &negotiated);
        status_used_ = (negotiated & status_feature) != 0;
        break;
    }
    case request::net_set_mtu:
        guest_mtu_ = static_cast<std::uint16_t>(m.payload<std::uint64_t>());
        break;
    default:
        break;
    }
    message_open_ = false;
    publish();
}

void connection::read_features()
{
    const bool logged = has_feature(features_, feature::log_all);
    features_ = 0;
    rte_vhost_get_negotiated_features(vid_, &features_);
    features_ |= beside_library_;
    if (logged && !has_feature(features_, feature::log_all)) {
        log_.reset(); // the migration has ended, whichever way; rings are published anew
    }
    if (!has_feature(features_, feature::multiqueue)) {
        // The library has forgotten all but the first pair, and says so nowhere.
        for (std::size_t ring = 2; ring < rings_.size(); ++ring) {
            rings_[ring] = {};
        }
    }
}

void connection::device_ready()
{
    device_ready_ = true;
    publish();
}

void connection::device_stopped()
{
    device_ready_ = false;
    take_back(ring_set{}.set(), tell::driver);
    // The front end will ask for each ring's position, and the library answers what it was told.
    for (unsigned ring = 0; ring < rings_.size(); ++ring) {
        give_back(ring);
    }
}

void connection::ring_state(unsigned ring, bool ready)
{
    if (ring >= rings_.size()) {
        return; // the library makes rings before the message that names them is refused
    }
    rings_[ring].ready = ready;
    if (ready) {
        publish();
    } else {
        take_back(ring_set{}.set(ring), tell::driver);
    }
}

// ---- memory ----

namespace {

// As the library will: it lets go of a file that it cannot map without closing it.
std::optional<std::string> try_to_map(int fd, std::uint64_t size, blksize_t block)
{
    const auto unit = static_cast<std::uint64_t>(block);
    const std::uint64_t whole = (size + unit - 1) / unit * unit;
    void* const at = ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        return std::strerror(errno);
    }
    ::munmap(at, whole);
    return std::nullopt;
}

} // namespace

// What the library will map. Whatever stands behind a page must be in memory: a worker that waits
// for a disk, or for a file system that the guest's owner serves, makes every port wait.
std::optional<std::string> connection::check_memory(const message& m) const
{
    constexpr std::size_t regions_at = 8;
    const auto count = m.payload<std::uint32_t>();
    if (count == 0 || count > max_message_regions) {
        return "it names " + std::to_string(count) + " memory regions; 1 to " +
               std::to_string(max_message_regions) + " can be taken";
    }
    if (m.size() < regions_at + count * sizeof(memory_region)) {
        return "its payload is too short for " + std::to_string(count) + " memory regions";
    }
    if (m.descriptor_count() != count) {
        return "it passes " + std::to_string(m.descriptor_count()) + " files for " +
               std::to_string(count) + " memory regions";
    }
    std::array<memory_region, max_message_regions> regions{};
    for (std::size_t i = 0; i < count; ++i) {
        const auto region = m.payload<memory_region>(regions_at + i * sizeof(memory_region));
        const std::string which = "memory region " + std::to_string(i);
        std::uint64_t end = 0;
        if (region.size == 0) {
            return which + " is empty";
        }
        if (__builtin_add_overflow(region.guest_address, region.size, &end) ||
            __builtin_add_overflow(region.user_address, region.size, &end) ||
            __builtin_add_overflow(region.map_offset, region.size, &end)) {
            return which + " reaches beyond the end of the address space";
        }
        for (std::size_t j = 0; j < i; ++j) {
            const auto overlap = [&](std::uint64_t a, std::uint64_t b) {
                return a < b + regions[j].size && b < a + region.size;
            };
            if (overlap(region.guest_address, regions[j].guest_address) ||
                overlap(region.user_address, regions[j].user_address)) {
                return which + " overlaps region " + std::to_string(j);
            }
        }
        struct statfs system {};
        struct stat status {};
        const int fd = m.descriptor(i);
        if (::fstatfs(fd, &system) != 0 || ::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
            (system.f_type != TMPFS_MAGIC && system.f_type != HUGETLBFS_MAGIC)) {
            return which + " is neither a memfd nor a file on tmpfs or hugetlbfs";
        }
        if (static_cast<std::uint64_t>(status.st_size) < end) {
            return which + " needs " + std::to_string(end) + " bytes of a file that has " +
                   std::to_string(status.st_size);
        }
        if (const auto wrong = try_to_map(fd, end, status.st_blksize)) {
            return which + " cannot be mapped: " + *wrong;
        }
        regions[i] = region;
    }
    return std::nullopt;
}

void connection::read_memory()
{
    // Only after a SET_MEM_TABLE that the library took: it has no table otherwise, and does not
    // look.
    rte_vhost_memory* table = nullptr;
    if (rte_vhost_get_mem_table(vid_, &table) != 0) {
        port_.lost("the vhost library has no memory table");
        return;
    }
    std::vector<guest_memory::mapping> mappings;
    for (const auto& region : std::span{table->regions, table->nregions}) {
        struct stat status {};
        const bool known = ::fstat(region.fd, &status) == 0;
        mappings.push_back({
            .guest_address = region.guest_phys_addr,
            .size = region.size,
            .base = reinterpret_cast<void*>(region.host_user_addr), // NOLINT
            .map_base = region.mmap_addr,
            .map_size = region.mmap_size,
            .inode = known ? status.st_ino ^ (std::uint64_t{status.st_dev} << 48) : 0,
        });
    }
    std::free(table); // NOLINT(cppcoreguidelines-no-malloc): as the library's interface says
    try {
        auto made = guest_memory::make(mappings);
        if (made) {
            memory_ = std::move(*made);
        } else {
            port_.lost(made.error().message);
        }
    } catch (const std::exception& e) {
        port_.lost(e.what());
    }
}

// ---- publication ----

bool connection::may_publish() const noexcept
{
    return device_ready_ && !message_open_ && !expelled_ && memory_ != nullptr &&
           (!status_used_ || driver_ok_);
}

void connection::publish()
{
    if (!may_publish()) {
        return;
    }
    obstacle_.clear();
    for (unsigned ring = 0; ring < rings_.size(); ++ring) {
        if (!rings_[ring].ready || rings_[ring].published.ring != nullptr) {
            continue;
        }
        if (const auto why = publish(ring)) {
            obstacle_ = "the guest's " + name_of(ring) + " cannot be served: " + *why;
            port_.lost(obstacle_);
        }
    }
}

std::optional<std::string> connection::publish(unsigned ring)
{
    rte_vhost_vring vring{};
    if (rte_vhost_get_vhost_vring(vid_, static_cast<std::uint16_t>(ring), &vring) != 0) {
        return "the vhost library does not know it";
    }
    ring_setup setup;
    setup.features = features_;
    setup.size = vring.size;
    setup.memory = memory_.get();
    if (setup.size == 0) {
        return "it has no descriptors";
    }
    if (auto wrong = setup.packed() ? describe_packed(ring, setup) : describe_split(ring, setup)) {
        return wrong;
    }
    if (auto wrong = describe_log(ring, setup)) {
        return wrong;
    }

    file_descriptor call;
    if (vring.callfd >= 0) {
        call = file_descriptor{::fcntl(vring.callfd, F_DUPFD_CLOEXEC, 0)};
        const int flags = ::fcntl(call.get(), F_GETFL);
        // At its limit it makes a blocking writer wait until the guest reads.
        if (flags < 0 || ::fcntl(call.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
            return std::string{"its call descriptor cannot be taken over: "} + std::strerror(errno);
        }
    }
    published_ring now;
    if (!is_sink(ring) && vring.kickfd >= 0) {
        // Where no descriptor is left to be had, the ring is polled without end.
        now.kick = file_descriptor{::fcntl(vring.kickfd, F_DUPFD_CLOEXEC, 0)};
        setup.kick_fd = now.kick.get();
    }
    setup.call_fd = call.get();
    port_.calls.set(ring, std::move(call));
    now.used = setup.used;
    now.size = setup.size;
    now.packed = setup.packed();
    const auto give = [&](auto made) {
        now.ring = made.get();
        rings_[ring].published = std::move(now);
        port_.queue_of(ring).publish(std::move(made), port_.place_of(ring));
    };
    if (is_sink(ring)) {
        give(make_sink(setup));
    } else {
        give(make_source(setup));
        port_.rcu->wake_all();
    }
    // Whoever served it before may have been killed between returning buffers and saying so; the
    // driver, which asked to be told at that place, would wait forever.
    if (setup.call_fd >= 0) {
        guarded_kick(setup.call_fd);
    }
    return std::nullopt;
}

std::optional<std::string> connection::describe_split(unsigned ring, ring_setup& setup) const
{
    rte_vhost_vring vring{};
    rte_vhost_get_vhost_vring(vid_, static_cast<std::uint16_t>(ring), &vring);
    const std::size_t size = setup.size;
    if ((size & (size - 1)) != 0) {
        return "it has " + std::to_string(size) + " descriptors, which is no power of two";
    }
    const std::size_t event = has_feature(setup.features, feature::event_index) ? 2 : 0;
    const std::size_t used_size = 4 + size * sizeof(used_element);
    dataplane::guest_span span;
    if (!memory_->from_host(vring.desc, size * sizeof(split_descriptor), span) ||
        !memory_->from_host(vring.avail, 4 + size * 2 + event, span) ||
        !memory_->from_host(vring.used, used_size + event, span)) {
        return "a part of it does not lie in one memory region";
    }
    if (!aligned(vring.desc, 16) || !aligned(vring.avail, 2) || !aligned(vring.used, 4)) {
        return "a part of it is not aligned as virtio demands";
    }
    auto* const used = reinterpret_cast<std::byte*>(vring.used);
    setup.log.device_area = memory_->guest_address_of(used);
    setup.split_descriptors = dataplane::guest_array<split_descriptor>{vring.desc};
    setup.available = dataplane::guest_array<std::uint16_t>{vring.avail};
    setup.used = dataplane::guest_array<std::uint16_t>{used};
    setup.used_ring = dataplane::guest_array<used_element>{used + 4};
    if (event != 0) {
        setup.available_event = dataplane::guest_array<std::uint16_t>{used + used_size};
    }
    // Buffers taken and not returned when somebody was killed come again; nobody else knows better.
    setup.start = {setup.used.load_acquire(1), true};
    return std::nullopt;
}

std::optional<std::string> connection::describe_packed(unsigned ring, ring_setup& setup)
{
    rte_vhost_vring vring{};
    rte_vhost_get_vhost_vring(vid_, static_cast<std::uint16_t>(ring), &vring);
    const std::size_t size = setup.size;
    dataplane::guest_span span;
    if (!memory_->from_host(vring.desc_packed, size * sizeof(packed_descriptor), span) ||
        !memory_->from_host(vring.driver_event, 4, span) ||
        !memory_->from_host(vring.device_event, 4, span)) {
        return "a part of it does not lie in one memory region";
    }
    if (!aligned(vring.desc_packed, 16) || !aligned(vring.driver_event, 4) ||
        !aligned(vring.device_event, 4)) {
        return "a part of it is not aligned as virtio demands";
    }
    setup.packed_descriptors = dataplane::guest_array<packed_descriptor>{vring.desc_packed};
    setup.driver_event = dataplane::guest_array<std::uint16_t>{vring.driver_event};
    setup.device_event = dataplane::guest_array<std::uint16_t>{vring.device_event};
    setup.log.descriptors = memory_->guest_address_of(vring.desc_packed);
    setup.log.device_area = memory_->guest_address_of(vring.device_event);

    const ring_position::identity identity{
        memory_->identity(), memory_->guest_address_of(vring.desc_packed), setup.size};
    const auto read = [&setup](std::uint16_t index) {
        return setup.packed_descriptors.load(index);
    };
    ring_position* const saved = port_.positions.ring(ring);
    packed_place start;
    if (const auto& stood = rings_[ring].stood; stood && stood->next < size) {
        start = {stood->next, stood->wrap};
    } else if (const auto kept = saved == nullptr ? std::nullopt : saved->recover(identity, read)) {
        start = *kept;
    } else {
        std::uint16_t available = 0;
        std::uint16_t used = 0;
        rte_vhost_get_vring_base(vid_, static_cast<std::uint16_t>(ring), &available, &used);
        start = packed_place::decoded(available);
        if (start.index >= size) {
            return "it is to start at descriptor " + std::to_string(start.index) + " of " +
                   std::to_string(size);
        }
    }
    if (saved != nullptr) {
        saved->begin(identity, start);
    }
    setup.saved = saved;
    setup.start = {start.index, start.wrap};
    return std::nullopt;
}

void connection::take_back()
{
    take_back(ring_set{}.set(), tell::nobody);
}

// The driver is told by the library's thread only: who frees those that wait for a descriptor which
// was made to block takes rings back, too, and must not wait for one itself.
void connection::take_back(const ring_set& which, tell whom)
{
    std::array<std::unique_ptr<vhost::ring>, max_rings> old;
    bool some = false;
    for (unsigned ring = 0; ring < rings_.size(); ++ring) {
        // Another connection of this port may have rings in the queue: only what is ours.
        if (!which[ring] || rings_[ring].published.ring == nullptr) {
            continue;
        }
        queue& from = port_.queue_of(ring);
        const std::size_t place = port_.place_of(ring);
        if (is_sink(ring)) {
            old[ring] = from.unpublish_sink(place);
        } else {
            old[ring] = from.unpublish_source(place);
        }
        some = true;
    }
    if (!some) {
        return;
    }
    port_.rcu->synchronize();
    for (unsigned ring = 0; ring < rings_.size(); ++ring) {
        if (old[ring] != nullptr) {
            settle(ring, *old[ring], whom);
        }
    }
}

// No worker is in it any more.
void connection::settle(unsigned ring, vhost::ring& old, tell whom)
{
    if (old.return_all() && whom == tell::driver) {
        std::atomic_thread_fence(std::memory_order_seq_cst); // see notify_if_wanted()
        old.notify_if_wanted();
    }
    rings_[ring].stood = old.position();
    port_.kicks += old.kicks();
    rings_[ring].published = {};
    port_.calls.set(ring, {});
}

void connection::give_back(unsigned ring)
{
    auto& stood = rings_[ring].stood;
    if (!stood) {
        return;
    }
    const ring_index at = *stood;
    const std::uint16_t value = has_feature(features_, feature::ring_packed)
                                    ? packed_place{at.next, at.wrap}.encoded()
                                    : at.next;
    rte_vhost_set_vring_base(vid_, static_cast<std::uint16_t>(ring), value, value);
    stood.reset();
}

// ---- losing the port ----

void connection::memory_lost()
{
    expel("guest memory went away under the switch (truncated, or a hole was punched into it)");
}

void connection::look()
{
    if (expelled_) {
        return;
    }
    if (memory_ != nullptr && memory_->lost()) {
        memory_lost();
        return;
    }
    if (log_ != nullptr && log_->lost()) {
        expel("the dirty log of its guest went away under the switch (truncated, or a hole was "
              "punched into it)");
        return;
    }
    for (unsigned ring = 0; ring < rings_.size(); ++ring) {
        const vhost::ring* const r = rings_[ring].published.ring;
        if (const char* const fault = r == nullptr ? nullptr : r->fault()) {
            expel("the guest broke the protocol in its " + name_of(ring) + ": " + fault);
            return;
        }
    }
}

void connection::expel(const std::string& reason)
{
    retire();
    port_.lost(reason + "; it is disconnected");
}

void connection::retire()
{
    expelled_ = true;
    take_back();
    hang_up();
}

void connection::hang_up() noexcept
{
    if (socket_.get() >= 0) {
        ::shutdown(socket_.get(), SHUT_RDWR);
    }
}

bool connection::hung_up() const noexcept
{
    if (socket_.get() < 0) {
        return true;
    }
    pollfd state{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
    return ::poll(&state, 1, 0) > 0;
}

// ---- what is shown ----

bool connection::running() const noexcept
{
    return std::ranges::any_of(rings_, [](const auto& r) { return r.published.ring != nullptr; });
}

std::string connection::name_of(unsigned ring) const
{
    const std::string name = is_sink(ring) ? "receive ring" : "transmit ring";
    return port_.pairs == 1 ? name : name + " of queue pair " + std::to_string(ring / 2);
}

int connection::peer() const noexcept
{
    ucred peer{};
    socklen_t size = sizeof(peer);
    return ::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

std::uint64_t connection::kicks() const noexcept
{
    std::uint64_t sum = 0;
    for (const auto& r : rings_) {
        sum += r.published.ring == nullptr ? 0 : r.published.ring->kicks();
    }
    return sum;
}

connection::ring_facts connection::facts(unsigned ring) const noexcept
{
    const published_ring& p = rings_[ring].published;
    ring_facts facts;
    if (p.ring == nullptr) {
        return facts;
    }
    facts.size = p.size;
    facts.packed = p.packed;
    if (!p.packed) {
        facts.position = p.used.load_acquire(1);
    } else if (const ring_position* const saved = port_.positions.ring(ring)) {
        const packed_place at = saved->place();
        facts.position = at.index;
        facts.wrap = at.wrap;
    }
    return facts;
}

} // namespace strait::vhost
