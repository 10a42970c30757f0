// SPDX-License-Identifier: BSD-3-Clause
// A vhost-user connection as its front end, who asks, sees it: messages out, answers in (QEMU's
// docs/interop/vhost-user.rst). What is said in which order is its users' business.
#pragma once

#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"
#include "ports/vhost/protocol.hh"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

namespace strait::vhost {

// Used by one thread. An error says as a sentence's end what the back end did, or did not do in
// time; the connection is of no use from then on.
class front_channel {
public:
    front_channel() noexcept = default;
    // `patience` for each answer. `cancel`: a descriptor that, when it becomes readable, ends every
    // wait; -1: none.
    front_channel(dataplane::file_descriptor socket, std::chrono::milliseconds patience,
                  int cancel = -1) noexcept
        : socket_{std::move(socket)}, patience_{patience}, cancel_{cancel}
    {}
    // Connects to a back end that listens at `path`; does not wait. The error is the whole reason.
    [[nodiscard]] static ports::result<dataplane::file_descriptor> connect(const std::string& path);

    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    // What is said from now on takes no longer than that, however many messages it is.
    void set_limit(std::chrono::milliseconds together) noexcept
    {
        together_ = together;
        deadline_ = std::chrono::steady_clock::now() + together;
    }
    // From now on each message is answered (VHOST_USER_PROTOCOL_F_REPLY_ACK).
    void expect_answers(bool yes) noexcept { answers_ = yes; }

    template <typename T>
    [[nodiscard]] ports::result<void> tell(request r, const char* name, const T& payload,
                                           std::span<const int> fds = {})
    {
        static_assert(std::is_trivially_copyable_v<T>);
        return tell_bytes(r, name, std::as_bytes(std::span{&payload, 1}), fds);
    }
    // Never answered.
    [[nodiscard]] ports::result<void> announce(request r) { return send(r, {}, {}, false); }
    [[nodiscard]] ports::result<std::uint64_t> ask(request r)
    {
        std::uint64_t answer = 0;
        if (auto done = ask_bytes(r, {}, {}, std::as_writable_bytes(std::span{&answer, 1}));
            done.has_error()) {
            return done.error();
        }
        return answer;
    }
    // The answer has the question's form. A descriptor that comes with it is the caller's.
    template <typename T>
    [[nodiscard]] ports::result<T> ask(request r, const T& question,
                                       dataplane::file_descriptor* with = nullptr)
    {
        static_assert(std::is_trivially_copyable_v<T>);
        T answer{};
        if (auto done = ask_bytes(r, std::as_bytes(std::span{&question, 1}), {},
                                  std::as_writable_bytes(std::span{&answer, 1}), with);
            done.has_error()) {
            return done.error();
        }
        return answer;
    }

    // Nothing is to be heard between answers: an error when there is, or when the back end has hung
    // up. Does not wait.
    [[nodiscard]] ports::result<void> expect_silence() const;

private:
    [[nodiscard]] ports::result<void> tell_bytes(request r, const char* name,
                                                 std::span<const std::byte> payload,
                                                 std::span<const int> fds);
    [[nodiscard]] ports::result<void> ask_bytes(request r, std::span<const std::byte> question,
                                                std::span<const int> fds,
                                                std::span<std::byte> answer,
                                                dataplane::file_descriptor* with = nullptr);
    [[nodiscard]] ports::result<void> send(request r, std::span<const std::byte> payload,
                                           std::span<const int> fds, bool wants_answer);
    [[nodiscard]] ports::result<void> receive(request r, std::span<std::byte> answer,
                                              dataplane::file_descriptor* with);
    [[nodiscard]] ports::result<void> wait(short events,
                                           std::chrono::steady_clock::time_point patient) const;

    dataplane::file_descriptor socket_;
    std::chrono::milliseconds patience_{0};
    std::chrono::milliseconds together_{0};
    std::chrono::steady_clock::time_point deadline_{std::chrono::steady_clock::time_point::max()};
    int cancel_{-1};
    bool answers_{false};
};

} // namespace strait::vhost
