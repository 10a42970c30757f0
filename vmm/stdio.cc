// SPDX-License-Identifier: BSD-3-Clause
// Settings of a terminal and flags of descriptors.
#include "vmm/stdio.hh"

#include <atomic>

#include <fcntl.h>
#include <unistd.h>

namespace strait::vmm {

namespace {

std::atomic<const stdio_settings*> to_put_back{nullptr};

} // namespace

stdio_settings::stdio_settings() noexcept
    : is_terminal_{::tcgetattr(STDIN_FILENO, &terminal_) == 0},
      in_flags_{::fcntl(STDIN_FILENO, F_GETFL)},
      out_flags_{::fcntl(STDOUT_FILENO, F_GETFL)}
{}

void stdio_settings::make_raw() const noexcept
{
    if (is_terminal_) {
        termios raw = terminal_;
        ::cfmakeraw(&raw);
        raw.c_oflag |= OPOST; // our own lines on stderr go to the same place
        (void)::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
}

void stdio_settings::put_back() const noexcept
{
    // Asio has them not block.
    (void)::fcntl(STDOUT_FILENO, F_SETFL, out_flags_);
    (void)::fcntl(STDIN_FILENO, F_SETFL, in_flags_);
    if (is_terminal_) {
        (void)::tcsetattr(STDIN_FILENO, TCSANOW, &terminal_);
    }
}

raw_stdio::raw_stdio() noexcept
{
    to_put_back = &before_;
    before_.make_raw();
}

raw_stdio::~raw_stdio()
{
    to_put_back = nullptr;
    before_.put_back();
}

void put_stdio_back() noexcept
{
    if (const stdio_settings* const before = to_put_back) {
        before->put_back();
    }
}

} // namespace strait::vmm
