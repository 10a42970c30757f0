// SPDX-License-Identifier: BSD-3-Clause
// What a front end that migrates its guest asks of a connection: a log of what is written, and the
// news of where the guest is now.
#include "ports/vhost/connection.hh"

#include <cstring>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

#include <unistd.h>

namespace strait::vhost {

namespace {

std::string hex(std::uint64_t n)
{
    std::ostringstream text;
    text << "0x" << std::hex << n;
    return text.str();
}

} // namespace

// The library is not told: it writes to no guest, and its own mapping of the log would be as large
// as the front end says.
verdict connection::take_log(message& m)
{
    if (m.descriptor_count() != 1) {
        return refuse(m, "it passes " + std::to_string(m.descriptor_count()) +
                             " files for the one dirty log");
    }
    const auto area = m.payload<log_area>();
    auto log = dirty_log::map(m.descriptor(0), area.size, area.offset);
    if (log.has_error()) {
        return refuse(m, log.error().message);
    }
    // What was written before the answer is in the log before it, all else in this one.
    message_open_ = true;
    take_back(ring_set{}.set(), tell::driver);
    log_ = std::move(log).value();
    m.answer();
    return verdict::reply;
}

// To be told of writes by, which nobody needs who reads the bitmap anyway: as other back ends, this
// one says nothing there.
verdict connection::take_log_event(message& m)
{
    for (std::size_t i = 0; i < m.descriptor_count(); ++i) {
        if (!is_eventfd(m.descriptor(i))) {
            return refuse(m, "what it passed is no eventfd");
        }
    }
    m.close_descriptors();
    return verdict::done;
}

verdict connection::announce(message& m)
{
    const dataplane::mac_address station{m.payload<std::uint64_t>()}; // in its first 6 bytes
    if (station.is_zero() || station.is_multicast()) {
        return refuse(m, "it announces " + station.to_string() + ", which is no station's address");
    }
    port_.queues.front()->announce(station);
    port_.rcu->wake_all();
    m.close_descriptors();
    return verdict::done;
}

// What is marked of a ring while the front end migrates its guest. Without a log, or with one that
// is too small, pages would be missing at the other end, and nobody would know.
std::optional<std::string> connection::describe_log(unsigned ring, ring_setup& setup) const
{
    if (!has_feature(features_, feature::log_all)) {
        return std::nullopt;
    }
    if (log_ == nullptr) {
        return "what is written is to be logged (VHOST_F_LOG_ALL), and the front end gave no log "
               "(SET_LOG_BASE)";
    }
    if (log_->end() < memory_->end()) {
        return "the dirty log is for guest memory up to " + hex(log_->end()) +
               ", and there is some up to " + hex(memory_->end());
    }
    constexpr std::size_t packed_area = 4;
    const std::size_t area = setup.packed()
                                 ? packed_area
                                 : 3 * sizeof(std::uint16_t) + setup.size * sizeof(used_element);
    const auto& address = rings_[ring].log_address;
    if (address && !log_->covers(*address, area)) {
        return "writes to it are to be logged at " + hex(*address) +
               ", and the dirty log ends at " + hex(log_->end());
    }
    setup.log.pages = log_.get();
    setup.log.memory = memory_.get();
    setup.log.device_area = address.value_or(setup.log.device_area);
    return std::nullopt;
}

} // namespace strait::vhost
