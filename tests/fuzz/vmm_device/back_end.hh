// SPDX-License-Identifier: BSD-3-Clause
// A vhost-user back end that answers and does no work: it sees what the front end tells it of a
// guest's rings. It asks for no acknowledgements: the control queue would wait for them.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "vmm/memory.hh"

#include <array>
#include <cstdint>
#include <string>

namespace strait::fuzz {

class back_end {
public:
    explicit back_end(const vmm::memory& ram) noexcept : ram_{ram} {}

    // Connects to a front end that listens, with these features, as a back end of so many pairs.
    void come(const std::string& path, std::uint64_t features, std::uint64_t pairs);
    void leave() noexcept;

    // Where the front end is heard; -1: it is not there.
    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    // Takes one message of it, which has come.
    void serve();
    // Whether it has rings of the guest.
    [[nodiscard]] bool has_rings() const noexcept;

private:
    static constexpr std::uint32_t most_rings = 4;

    [[nodiscard]] static std::uint32_t ring(std::uint32_t index);
    template <typename T>
    void answer(std::uint32_t request, const T& value) const;

    const vmm::memory& ram_;
    dataplane::file_descriptor socket_;
    std::uint64_t features_{0};
    std::uint64_t pairs_{1};
    std::array<bool, most_rings> kicked_{}; // it has their kicks
    std::array<std::uint32_t, most_rings> sizes_{};
};

} // namespace strait::fuzz
