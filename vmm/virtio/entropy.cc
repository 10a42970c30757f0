// SPDX-License-Identifier: BSD-3-Clause
// Random bytes for the guest.
#include "vmm/virtio/entropy.hh"

#include <algorithm>
#include <array>
#include <cerrno>

#include <sys/random.h>

namespace strait::vmm::virtio {

queue_server::outcome fill_with_entropy(chain& c)
{
    std::array<std::byte, most_entropy> bytes;
    const std::size_t wanted = std::min<std::size_t>(c.writable_bytes(), bytes.size());
    std::size_t got = 0;
    while (got < wanted) {
        const ssize_t some = ::getrandom(bytes.data() + got, wanted - got, 0);
        if (some > 0) {
            got += static_cast<std::size_t>(some);
        } else if (errno != EINTR) {
            return {.fault = "the host has no random bytes"};
        }
    }
    (void)c.write(std::span{bytes}.first(wanted));
    return {.written = static_cast<std::uint32_t>(wanted), .moved = wanted};
}

} // namespace strait::vmm::virtio
