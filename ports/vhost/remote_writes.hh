// SPDX-License-Identifier: BSD-3-Clause
// Payload on its way from one guest's granted pages into another's buffers: copied by the sender's
// hypervisor, in one call a burst, without passing through this process.
#pragma once

#include "dataplane/packet.hh"
#include "dataplane/remote.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::vhost {

// Used by one worker, for the time of one burst. Too large to be made where nothing is remote.
class remote_writes {
public:
    // A frame of which pieces follow. Its number, for failed(). At most most_frames between two
    // calls of begin().
    std::size_t add_frame(const dataplane::packet& p) noexcept
    {
        frames_[frame_count_] = {.payload = p.remote, .failed = false};
        return frame_count_++;
    }
    // Part of the last frame's payload, and where it goes: as many bytes as `from` has.
    void add(const dataplane::remote_span& from, const dataplane::guest_span& to) noexcept;
    // Copies all that was added and was not yet.
    void flush() noexcept;
    // After flush(): whether a part of it could not be copied. Who sent it is marked (`unreadable`)
    // if that was because of its grants, and not of the receiver's memory.
    [[nodiscard]] bool failed(std::size_t number) const noexcept { return frames_[number].failed; }
    void fail(std::size_t number) noexcept { frames_[number].failed = true; }
    // Forgets the frames, all of which were flushed.
    void begin() noexcept { frame_count_ = 0; }

    static constexpr std::size_t most_frames = dataplane::burst::capacity * 2;

private:
    struct frame {
        dataplane::remote_payload* payload;
        bool failed;
    };

    void find_failed() noexcept;

    std::array<frame, most_frames> frames_;
    std::size_t frame_count_{0};
    // A burst of frames of two pages each; more make a second call.
    std::array<dataplane::remote_copy, dataplane::burst::capacity * 3> pieces_;
    std::array<std::uint16_t, dataplane::burst::capacity * 3> frame_of_;
    std::size_t piece_count_{0};
};

} // namespace strait::vhost
